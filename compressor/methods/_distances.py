"""Distances between a layer's filters."""

from __future__ import annotations

from torch import Tensor


def squared_distances(rows: Tensor) -> Tensor:
    """Squared Euclidean distance between every two rows: (n, features) -> (n, n) double, zeros on the diagonal."""
    # Distances do not change when all rows are moved; moved to their mean, the squares lose fewest digits.
    rows = rows.double() - rows.double().mean(0)  # (n, features)
    gram = rows @ rows.T  # (n, n)
    squares = gram.diagonal()  # (n,)
    between = (squares[:, None] + squares[None, :] - (gram + gram.T)).clamp_(min=0)  # (n, n), exactly symmetric
    return between.fill_diagonal_(0)
