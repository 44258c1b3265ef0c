"""The l2,1 norm: the sum of the lengths of rows, so that whole rows become 0."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class GroupL2:
    """rho(x) = sum over rows g of sqrt(n) |x_g|: l1 of the rows' lengths, each row weighted by the root of its size.

    Paper: Ming Yuan, Yi Lin, "Model Selection and Estimation in Regression with Grouped Variables", J. R. Stat. Soc. B
        68, 2006, doi:10.1111/j.1467-9868.2005.00532.x.

    Equations:
        rho'(x)_g = sqrt(n) x_g / |x_g|                        -> `subgradient`
        prox: x_g max(1 - t sqrt(n) / |x_g|, 0)                -> `prox`

    Notation:
        x_g: row g of x, which is (rows, ...), flattened; |x_g|: its Euclidean norm; n: its number of entries.
        t: strength times step, at least 0.

    Options: none.

    Returns:
        See `Penalty`. The strength is the caller's.

    Deviations: none.

    Raises: nothing.

    Complexity: O(entries).

    Example:
        A row of four entries and length 10 loses t sqrt(4) = 5 of it; one of length 4 becomes 0.

        >>> GroupL2().prox(torch.tensor([[6.0, 8.0, 0.0, 0.0], [2.0, 2.0, 2.0, 2.0]]), 2.5).tolist()
        [[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """

    def value(self, x: Tensor) -> Tensor:
        """Scalar."""
        rows = x.reshape(len(x), -1)  # (rows, n)
        return math.sqrt(rows.shape[1]) * torch.linalg.vector_norm(rows, dim=1).sum()

    def subgradient(self, x: Tensor) -> Tensor:
        """(shape of x)."""
        rows = x.reshape(len(x), -1)  # (rows, n)
        length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)  # (rows, 1)
        return (math.sqrt(rows.shape[1]) * rows / length.where(length > 0, 1.0)).view_as(x)

    def prox(self, x: Tensor, t: float) -> Tensor:
        """(shape of x)."""
        rows = x.reshape(len(x), -1)  # (rows, n)
        length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)  # (rows, 1)
        limit = t * math.sqrt(rows.shape[1])
        return torch.where(length > limit, rows * (1 - limit / length), 0.0).view_as(x)


PLUGIN = GroupL2
