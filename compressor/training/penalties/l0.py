"""The number of entries that are not 0."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class L0:
    """rho(x) = number of x_i other than 0: keeps what is large as it is, and makes the rest 0.

    Paper: Thomas Blumensath, Mike E. Davies, "Iterative Thresholding for Sparse Approximations", J. Fourier Anal. Appl.
        14, 2008, doi:10.1007/s00041-008-9035-z (hard thresholding).

    Equations:
        prox: x_i if |x_i| > sqrt(2 t), else 0          -> `prox`

    Notation:
        x_i: an entry of x, any shape; t: strength times step, at least 0.

    Options: none.

    Returns:
        See `Penalty`. The strength is the caller's. The subgradient is 0 everywhere: only `prox` acts.

    Deviations: none.

    Raises: nothing.

    Complexity: O(entries).

    Example:
        Keeping x costs t, dropping it x^2 / 2; with t = 2 they are even at |x| = 2.

        >>> L0().prox(torch.tensor([3.0, 2.0, -1.0]), 2.0).tolist()
        [3.0, 0.0, 0.0]
    """

    def value(self, x: Tensor) -> Tensor:
        """Scalar, without gradient."""
        return (x != 0).sum().to(x.dtype)

    def subgradient(self, x: Tensor) -> Tensor:
        """(shape of x)."""
        return torch.zeros_like(x)

    def prox(self, x: Tensor, t: float) -> Tensor:
        """(shape of x)."""
        return torch.where(x.abs() > math.sqrt(2 * t), x, 0.0)


PLUGIN = L0
