"""The nearest matrices of low rank, and where the nuclear norm falls from there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.decompositions.matrices import without_rounding
from compressor.decompositions.ranks import energy_rank


@dataclass(frozen=True)
class Truncation:
    """Matrices (n_matrices, rows, columns), all cut to one rank."""

    matrices: Tensor
    subgradient: Tensor  # U_r V_r' of each: of the sum of its singular values
    rank: int


def truncate(matrices: Tensor, *, energy: float = 1.0, rank: int | None = None) -> Truncation:
    """The nearest matrices of rank `rank`, else of the smallest rank that keeps this share of each one's energy.

    Singular values that are 0, or that rounding may have made, have no part in the subgradient: of all subgradients
    there, it is the shortest.

    Args:
        matrices: (n_matrices, rows, columns), in single or double precision.

    Example:
        diag(3, 1) at rank 1: the 1 goes, which was a tenth of the energy.

        >>> cut = truncate(torch.diag(torch.tensor([3.0, 1.0]))[None], energy=0.9)
        >>> cut.rank, cut.matrices.diagonal(dim1=1, dim2=2).tolist(), cut.subgradient.diagonal(dim1=1, dim2=2).tolist()
        (1, [[3.0, 0.0]], [[1.0, 0.0]])
    """
    left, singular, right = torch.linalg.svd(matrices, full_matrices=False)
    clean = without_rounding(singular, matrices.dtype)  # (n_matrices, K)
    if rank is None:
        rank = energy_rank(clean, energy)
    left, right = left[:, :, :rank], right[:, :rank]
    alive = (clean[:, :rank] > 0).to(left.dtype)  # (n_matrices, rank)
    return Truncation((left * singular[:, None, :rank]) @ right, (left * alive[:, None, :]) @ right, rank)
