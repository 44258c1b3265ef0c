"""The sum of absolute values."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from compressor.training.penalties._penalty import soft_threshold


@dataclass(frozen=True)
class L1:
    """rho(x) = sum over i of |x_i|: shrinks all entries alike, the small ones to 0.

    Paper: Robert Tibshirani, "Regression Shrinkage and Selection via the Lasso", J. R. Stat. Soc. B 58, 1996,
        doi:10.1111/j.2517-6161.1996.tb02080.x.

    Equations:
        rho'(x_i) = sign x_i                           -> `subgradient`
        prox: sign(x_i) max(|x_i| - t, 0)              -> `prox`

    Notation:
        x_i: an entry of x, any shape; t: strength times step, at least 0.

    Options: none.

    Returns:
        See `Penalty`. The strength is the caller's.

    Deviations: none.

    Raises: nothing.

    Complexity: O(entries).

    Example:
        >>> import torch
        >>> L1().prox(torch.tensor([3.0, -0.5, -2.0]), 1.0).tolist()
        [2.0, -0.0, -1.0]
    """

    def value(self, x: Tensor) -> Tensor:
        """Scalar."""
        return x.abs().sum()

    def subgradient(self, x: Tensor) -> Tensor:
        """(shape of x)."""
        return x.sign()

    def prox(self, x: Tensor, t: float) -> Tensor:
        """(shape of x)."""
        return soft_threshold(x, t)


PLUGIN = L1
