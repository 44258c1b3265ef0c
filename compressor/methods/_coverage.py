"""Greedy maximum coverage: a few channels that together belong to as many clusters as possible."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# The residual stream of a large network has millions of kernels: half the width is half the memory.
Integers = NDArray[np.int32]


def greedy_cover(
    memberships: Sequence[tuple[Integers, Integers]],
    n_channels: int,
    n_keep: int,
    generator: np.random.Generator,
    fallback: NDArray[np.float64],
) -> list[int]:
    """Takes, one after the other, the channel that belongs to the most clusters not yet covered.

    Args:
        memberships: per layer, its channels (n_made,) and their clusters (n_made, n_columns), numbered from 0 in each
            column; every column of every layer is a set of clusters of its own.
        n_channels: how many channels there are.
        n_keep: how many to take.
        generator: draws among equals.
        fallback: (n_channels,); once every cluster is covered, the largest of these goes first, then the lower index.

    Returns:
        `n_keep` distinct channels in the order in which they were taken.

    Each kernel loses its worth once, when its cluster is covered, so all takes together cost O(kernels).

    >>> clusters = np.array([[0, 0], [0, 1], [1, 1]])  # two columns of two clusters; channels 0 and 2 cover all four
    >>> sorted(greedy_cover([(np.arange(3), clusters)], 3, 2, np.random.default_rng(2), np.ones(3)))
    [0, 2]
    """
    channel, cluster = _pairs(memberships)
    clusters_of, channel_start = _runs(channel, cluster, n_channels)
    members, cluster_start = _runs(cluster, channel, int(cluster.max(initial=-1)) + 1)
    gain = np.bincount(channel, minlength=n_channels)
    covered = np.zeros(len(cluster_start) - 1, dtype=bool)
    taken: list[int] = []
    while len(taken) < n_keep and gain.max() > 0:
        best = int(generator.choice(np.flatnonzero(gain == gain.max())))
        taken.append(best)
        mine = clusters_of[channel_start[best] : channel_start[best + 1]]
        fresh = mine[~covered[mine]]
        covered[fresh] = True
        losers = _gather(members, cluster_start[fresh], cluster_start[fresh + 1])
        gain -= np.bincount(losers, minlength=n_channels)
    rest = np.setdiff1d(np.arange(n_channels), taken)
    rest = rest[np.argsort(-fallback[rest], kind="stable")]
    return taken + [int(c) for c in rest[: n_keep - len(taken)]]


def _pairs(memberships: Sequence[tuple[Integers, Integers]]) -> tuple[Integers, Integers]:
    """One (channel, cluster) pair per kernel; cluster numbers are made distinct between columns and layers."""
    channels, clusters, offset = [], [], np.int32(0)
    for made, labels in memberships:
        last = (labels.max(axis=0) + 1).cumsum(dtype=np.int32)  # (n_columns,): clusters up to and with each column
        first = np.concatenate([[offset], offset + last[:-1]]).astype(np.int32)  # (n_columns,)
        clusters.append((labels + first).ravel())
        channels.append(np.repeat(made, labels.shape[1]))
        offset += last[-1]
    return np.concatenate(channels), np.concatenate(clusters)


def _runs(key: Integers, value: Integers, n: int) -> tuple[Integers, Integers]:
    """`value` sorted by `key`, and where the run of each key begins: (len(key),), (n + 1,)."""
    start = np.zeros(n + 1, dtype=np.int32)
    start[1:] = np.bincount(key, minlength=n).cumsum()
    return value[key.argsort(kind="stable")], start


def _gather(values: Integers, begin: Integers, end: Integers) -> Integers:
    """values[begin[0]:end[0]], values[begin[1]:end[1]], ... one after the other."""
    length = end - begin
    within = np.arange(length.sum()) - np.repeat(length.cumsum() - length, length)
    return values[np.repeat(begin, length) + within]
