"""What was decided: which channels stay, and what that does to every tensor."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from compressor.core.errors import ContractViolation

# 1: groups, cuts, attributes. 2: rewrites. 3: rewrites to layers of low rank.
PLAN_FORMAT = 3


@dataclass(frozen=True)
class GroupPlan:
    """The channels of one group that stay, ascending."""

    n_channels: int
    keep: tuple[int, ...]

    def __post_init__(self) -> None:
        keep = self.keep
        if not keep or any(a >= b for a, b in pairwise(keep)) or keep[0] < 0 or keep[-1] >= self.n_channels:
            raise ContractViolation(
                f"keep must be ascending indices below {self.n_channels}, at least one, but got {keep[:8]}..."
            )


@dataclass(frozen=True)
class TensorCut:
    """Positions that stay on one axis of one parameter or buffer."""

    tensor: str
    axis: int
    size: int  # before the cut
    keep: tuple[int, ...]


@dataclass(frozen=True)
class AttributeChange:
    """A module's attribute that names a size (out_channels, num_heads), after the cut."""

    layer: str
    attribute: str
    before: int | tuple[int, ...]
    after: int | tuple[int, ...]


@dataclass(frozen=True)
class Rewrite:
    """What was done before anything was cut.

    A block is replaced by one that ties fewer sizes, or a plain tensor of a module is registered as a buffer, so that
    more can be cut: the model computes the same. Or a layer is replaced by thin ones of low rank, and it does not.
    """

    layer: str
    kind: str  # "attention", "buffer" or "low_rank"
    options: dict[str, float | int | str]


@dataclass(frozen=True)
class PruningPlan:
    """Plain data: saved, diffed, and replayed without tracing anything."""

    method: str
    method_options: dict[str, float | int | str | bool | None]
    allocation: str  # "local" or "global"
    budget: dict[str, float]  # {"macs": 0.5}, {"params": 0.5} or {"ratio": 0.5}
    round_to: int
    seed: int
    groups: dict[str, GroupPlan]
    cuts: tuple[TensorCut, ...]
    attributes: tuple[AttributeChange, ...]
    macs: tuple[int, int]  # before, after; per one input
    params: tuple[int, int]  # before, after
    source_sha256: str = ""  # of the model file; empty for a live module
    versions: dict[str, str] = field(default_factory=dict)
    preprocessing: dict[str, list[float]] = field(default_factory=dict)  # mean, std, size of the images it expects
    rewrites: tuple[Rewrite, ...] = ()  # done before the cuts
    notes: tuple[str, ...] = ()  # budget missed and why, groups left whole by the method
    format: int = PLAN_FORMAT

    def __str__(self) -> str:
        kept = sum(len(g.keep) for g in self.groups.values())
        total = sum(g.n_channels for g in self.groups.values())
        return f"{self.method}: keeps {kept} of {total} channels, {self.macs[1] / self.macs[0]:.1%} of the MACs"
