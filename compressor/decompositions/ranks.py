"""How many singular values stay: by energy, by size, or by multiply-accumulates."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

from torch import Tensor

from compressor.decompositions.protocol import Ranks


def energy_rank(singular_values: Tensor, energy: float) -> int:
    """The smallest rank whose squared singular values are at least this share of all, in every matrix; at least 1.

    Args:
        singular_values: (n_matrices, K), descending.
        energy: above 0; 1 keeps all that are not 0.

    >>> import torch
    >>> energy_rank(torch.tensor([[3.0, 1.0, 0.0]]), 0.9), energy_rank(torch.tensor([[3.0, 1.0, 0.0]]), 1.0)
    (1, 2)
    """
    kept = singular_values.double().square().cumsum(1)  # (n_matrices, K)
    short = kept < energy * kept[:, -1:]
    return min(int(short.sum(1).max()) + 1, kept.shape[1])


def threshold_rank(singular_values: Tensor, least: float) -> int:
    """As many as are at least `least`, in the matrix where they are most; at least 1.

    >>> import torch
    >>> threshold_rank(torch.tensor([[0.3, 0.06, 0.01], [0.2, 0.04, 0.01]]), 0.05)
    2
    """
    return max(1, int((singular_values >= least).sum(1).max()))


def rank_path(spectra: Sequence[Tensor]) -> list[Ranks]:
    """All ranks from 1 to the highest; where there are two, the one rises whose next singular value is larger.

    Args:
        spectra: for each rank, singular values (n_matrices, K), descending. Squares are added over the matrices.

    >>> import torch
    >>> rank_path([torch.tensor([[3.0, 1.0]]), torch.tensor([[2.0, 2.0, 0.5]])])
    [(1, 1), (1, 2), (2, 2), (2, 3)]
    """
    gains = [spectrum.double().square().sum(0).tolist()[1:] for spectrum in spectra]
    steps = [(gain, axis) for axis, of_axis in enumerate(gains) for gain in of_axis]
    ranks = [1] * len(gains)
    path = [tuple(ranks)]
    for _, axis in sorted(steps, key=lambda step: -step[0]):
        ranks[axis] += 1
        path.append(tuple(ranks))
    return path


def largest_within(path: Sequence[Ranks], macs_of: Callable[[Ranks], int], allowed: float) -> Ranks | None:
    """The last ranks of the path that take no more multiply-accumulates than allowed; None if the first take more.

    >>> largest_within([(1,), (2,), (3,)], lambda ranks: 10 * ranks[0], 25)
    (2,)
    """
    n_fitting = bisect_right(path, allowed, key=macs_of)
    return path[n_fitting - 1] if n_fitting else None


def break_even(path: Sequence[Ranks], macs_of: Callable[[Ranks], int], macs: int) -> Ranks | None:
    """The last ranks of the path that save something over `macs`; None if none do."""
    return largest_within(path, macs_of, macs - 1)
