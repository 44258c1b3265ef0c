"""What a way to split a layer offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor, nn

Ranks = tuple[int, ...]  # one number, or two (of inputs, of outputs) where a decomposition has two


@dataclass(frozen=True)
class Replacement:
    """Ordinary layers that stand in for one layer."""

    module: nn.Module  # with tensors of its own, in the layer's mode, on its device, of its type
    relative_error: float  # |W - W'| / |W|, Frobenius norms, W' being the weight that the module amounts to


class Factorization(Protocol):
    """One layer's weight, taken apart once; replacements of any rank are made of it."""

    spectra: tuple[Tensor, ...]  # for each rank: singular values (n_matrices, K), descending; what rounding made is 0

    def bounded(self, ranks: Ranks) -> Ranks:
        """The ranks, none above what the shapes and the other ranks allow, nor below 1."""

    def replacement(self, ranks: Ranks) -> Replacement:
        """The layers of these ranks; ranks above the bounds count as the bounds."""


class Decomposition(Protocol):
    """A way to split a layer; a frozen dataclass whose fields are its options."""

    name: ClassVar[str]
    summary: ClassVar[str]
    paper: ClassVar[str]
    use_when: ClassVar[str]
    needs: ClassVar[frozenset[str]]
    layers: ClassVar[tuple[type[nn.Module], ...]]  # what it can split

    def refusal(self, layer: nn.Module) -> str:
        """Why this layer cannot be split: a sentence; empty if it can."""

    def factor(self, layer: nn.Module) -> Factorization:
        """Takes apart the weight of a layer that is not refused."""

    def skeleton(self, layer: nn.Module, ranks: Ranks) -> nn.Module:
        """The layers of these ranks without numbers, on the device "meta"."""
