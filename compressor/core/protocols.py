"""The plug-in contracts. A plug-in is a frozen dataclass: its fields are its options, checked in `__post_init__`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compressor.core.groups import ChannelGroup
    from compressor.core.node_times import NodeTime
    from compressor.core.plan import PruningPlan
    from exporters.signature import ExampleInputs


def unheard(about: str, sentence: str) -> None:
    """Where notes go that nobody asked for."""


@dataclass(frozen=True)
class MethodContext:
    """What a method may look at, of one model with its weights as they are. It must leave the model as it found it."""

    model: nn.Module
    seed: int = 0
    batches: Iterable[Any] | None = None  # of (inputs tensor (N, ...), labels tensor (N,)); may be read more than once
    loss: Callable[[Any, Any], Tensor] | None = None  # (model output, labels) -> scalar
    note: Callable[[str, str], None] = unheard  # (group, sentence): what people should know, such as a fallback
    importance: Mapping[str, Tensor] | None = None  # {group: (n_channels,)} as training for the cut left it
    memory: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)  # a method's own, between its calls


class Criterion(Protocol):
    """A score per channel, larger = keep."""

    summary: ClassVar[str]  # one line for `compress methods`
    paper: ClassVar[str]  # authors, venue, year, arXiv or DOI; "" if there is none
    use_when: ClassVar[str]  # for `compress methods`: who should take this one
    needs: ClassVar[frozenset[str]]  # of "data", "labels", "norm"
    comparable: ClassVar[bool]  # scores of different groups mean the same and may be ranked together as they are

    def scores(self, groups: Sequence[ChannelGroup], context: MethodContext) -> Mapping[str, Tensor]:
        """{group name: float32 tensor (n_channels,)}; a group that the method cannot judge is absent."""


class Selector(Protocol):
    """A kept set per group, for methods that choose channels jointly."""

    summary: ClassVar[str]
    paper: ClassVar[str]
    use_when: ClassVar[str]
    needs: ClassVar[frozenset[str]]

    def ratios(
        self, groups: Sequence[ChannelGroup], context: MethodContext, pruning_ratio: float
    ) -> Mapping[str, float]:
        """Share of each group's channels to remove when `pruning_ratio` of all is to go (global allocation)."""

    def select(self, group: ChannelGroup, n_keep: int, context: MethodContext) -> Sequence[int]:
        """`n_keep` distinct channel indices of `group` that stay."""


@dataclass(frozen=True)
class RecoveryContext:
    """What a recovery may use. `model` is changed in place; `original` is not."""

    model: nn.Module  # the small one
    original: nn.Module  # its layers have the same names
    plan: PruningPlan | None = None  # what was cut from `original` to make `model`
    groups: Sequence[ChannelGroup] = ()  # of `original`
    inputs: ExampleInputs | None = None  # that both models take
    train: Any = None  # compressor.data dataset of (image, label), or None
    val: Any = None
    batches: Iterable[Any] | None = None  # calibration batches (inputs only), where no dataset is given
    device: str = "cpu"
    seed: int = 0
    checkpoints: Path | None = None  # folder for resuming; None: do not save
    options: Mapping[str, Any] = field(default_factory=dict)
    teacher: nn.Module | None = None  # to learn from; None: `original`


class Recovery(Protocol):
    """Gives accuracy back."""

    summary: ClassVar[str]
    paper: ClassVar[str]
    use_when: ClassVar[str]
    needs: ClassVar[frozenset[str]]  # of "data", "labels", "norm"

    def apply(self, context: RecoveryContext, progress: Any) -> dict[str, float | int | str]:
        """Changes `context.model` in place; returns facts for the report (batches seen, loss per epoch)."""


class Target(Protocol):
    """Where latency is measured. One inference per call, the result ready on return; no timing inside."""

    name: ClassVar[str]  # "onnxruntime:cpu"; the file is onnxruntime_cpu.py
    accepts: ClassVar[tuple[str, ...]]  # file suffixes: (".onnx",)

    def unavailable(self) -> str:
        """Why this target cannot be used here; empty if it can. Cheap, and never raises."""

    def prepare(self) -> None:
        """Sets up what a process's first file would set up for all others: libraries, plug-ins, lazy imports.

        So what `runner` takes after it, in time and memory, is the file's own.
        """

    def runner(self, path: Path, batch_size: int, threads: int) -> Callable[[], None]:
        """All set-up (load, inputs of `batch_size`, threads); then one inference per call."""

    def nodes(
        self, path: Path, batch_size: int, threads: int, inferences: int
    ) -> tuple[tuple[float, ...], tuple[NodeTime, ...]]:
        """The runtime's own profile of `inferences`, set up as for `runner`: seconds of each whole, and the nodes."""

    def describe(self) -> dict[str, str]:
        """What really runs: runtime version, provider, device name, precision."""
