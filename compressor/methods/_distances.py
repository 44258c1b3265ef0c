"""Distances between a layer's filters, and between the channels that several layers make together."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compressor.core.groups import ChannelGroup
from compressor.methods._weights import producer_filters


def squared_distances(rows: Tensor) -> Tensor:
    """Squared Euclidean distance between every two rows: (n, features) -> (n, n) double, zeros on the diagonal."""
    # Distances do not change when all rows are moved; moved to their mean, the squares lose fewest digits.
    rows = rows.double() - rows.double().mean(0)  # (n, features)
    gram = rows @ rows.T  # (n, n)
    squares = gram.diagonal()  # (n,)
    between = (squares[:, None] + squares[None, :] - (gram + gram.T)).clamp_(min=0)  # (n, n), exactly symmetric
    return between.fill_diagonal_(0)


def group_squared_distances(model: nn.Module, group: ChannelGroup) -> Tensor | None:
    """Squared distances between a group's channels: those of each producer over the square of its median distance.

    So no producer counts more because its weights are larger. A producer sees a filter of zeros in a channel that it
    does not make.

    Returns:
        (n_channels, n_channels) double; None if no producer makes some channel.

    Raises:
        UnsupportedModel: a weight is infinite or not a number.
    """
    n = group.n_channels
    total, made = torch.zeros(n, n, dtype=torch.float64), torch.zeros(n, dtype=torch.bool)
    for filters in producer_filters(model, group):
        made[filters.channels] = True
        if len(filters.channels) == n:
            squares = squared_distances(filters.rows)  # (n, n)
            typical = _typical(squares)
        else:
            rows = filters.rows.new_zeros(n, filters.rows.shape[1])
            rows[filters.channels] = filters.rows
            squares = squared_distances(rows)
            typical = _typical(squares[filters.channels][:, filters.channels])
        total += squares.div_(typical)
    return total if bool(made.all()) else None


def _typical(squares: Tensor) -> float:
    """Median of the distances between different filters, squared; their mean where most are zero, and 1 if all are."""
    n_pairs = squares.numel() - len(squares)
    total = float(squares.sum())
    if not total:
        return 1.0
    # The zeros of the diagonal come first in the order of size.
    median = float(squares.flatten().kthvalue(len(squares) + (n_pairs + 1) // 2).values)
    return median or total / n_pairs
