"""Decompositions that see a weight as matrices and keep the largest singular values of each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from compressor.decompositions.layers import exact_weight, filled, n_groups, refusal
from compressor.decompositions.protocol import Ranks, Replacement


class MatrixDecomposition(ABC):
    """A one-to-one view of a weight as n_matrices matrices of one size, all cut to the same rank.

    Eckart and Young: no matrix of rank r is nearer than the one of the r largest singular values, and the squared
    distance is the sum of the other singular values' squares.
    """

    name: ClassVar[str]
    layers: ClassVar[tuple[type[nn.Module], ...]]

    @abstractmethod
    def matrices(self, weight: Tensor, groups: int) -> Tensor:
        """(n_matrices, rows, columns) of a layer's weight."""

    @abstractmethod
    def weight(self, matrices: Tensor, shape: torch.Size, groups: int) -> Tensor:
        """The weight of this shape that `matrices` gives those of."""

    @abstractmethod
    def skeleton(self, layer: nn.Module, ranks: Ranks) -> nn.Module:
        """See `Decomposition`."""

    @abstractmethod
    def weights(self, layer: nn.Module, left: Tensor, right: Tensor) -> list[Tensor]:
        """What the skeleton's products hold, in their order, up to trailing axes of size 1.

        Args:
            left: (n_matrices, rows, rank).
            right: (n_matrices, rank, columns); left @ right are the matrices of the new weight.
        """

    def refusal(self, layer: nn.Module) -> str:
        """See `Decomposition`."""
        return refusal(layer, self.layers)

    def max_rank(self, layer: nn.Module) -> int:
        """The matrices' smaller side."""
        weight = cast(nn.Parameter, layer.weight)
        return min(self.matrices(torch.empty(weight.shape, device="meta"), n_groups(layer)).shape[1:])

    def factor(self, layer: nn.Module) -> SingularFactors:
        """See `Decomposition`."""
        return SingularFactors(self, layer)


class SingularFactors:
    """The singular value decomposition of one layer's matrices."""

    def __init__(self, decomposition: MatrixDecomposition, layer: nn.Module) -> None:
        self._decomposition, self._layer = decomposition, layer
        matrices = decomposition.matrices(exact_weight(layer), n_groups(layer))
        self._left, self._singular, self._right = torch.linalg.svd(matrices, full_matrices=False)
        self.spectra: tuple[Tensor, ...] = (without_rounding(self._singular, cast(nn.Parameter, layer.weight).dtype),)

    def bounded(self, ranks: Ranks) -> Ranks:
        """See `Factorization`."""
        (rank,) = ranks
        return (max(1, min(rank, self._singular.shape[1])),)

    def replacement(self, ranks: Ranks) -> Replacement:
        """See `Factorization`. Both factors get the roots of the singular values, so that their ranges are alike."""
        (rank,) = self.bounded(ranks)
        roots = self._singular[:, :rank].sqrt()  # (n_matrices, rank)
        left = self._left[:, :, :rank] * roots[:, None, :]  # (n_matrices, rows, rank)
        right = roots[:, :, None] * self._right[:, :rank]  # (n_matrices, rank, columns)
        skeleton = self._decomposition.skeleton(self._layer, (rank,))
        module = filled(skeleton, self._layer, self._decomposition.weights(self._layer, left, right))
        whole = float(self._singular.norm())
        return Replacement(module, float(self._singular[:, rank:].norm()) / whole if whole else 0.0)


def without_rounding(singular_values: Tensor, dtype: torch.dtype) -> Tensor:
    """Singular values (n_matrices, K) with those set to 0 that rounding of the weights alone may have made.

    Rounding moves a matrix by no more than eps / 2 times its norm, and singular values by no more than that; 4 eps
    leave room for a decomposition in the weights' own precision. Weights in half precision count as of single one:
    what their rounding adds is taken for rank.
    """
    eps = torch.finfo(torch.float64 if dtype is torch.float64 else torch.float32).eps
    level = 4 * eps * singular_values.norm(dim=1, keepdim=True)  # (n_matrices, 1)
    return singular_values.where(singular_values > level, torch.zeros_like(singular_values))
