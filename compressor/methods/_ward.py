"""Ward clustering of many small point sets at one shared height.

Merging clusters A and B costs I(A, B) = |A||B| / (|A| + |B|) * ||mean_A - mean_B||^2, the growth of the sum of squared
distances to the means. The costs of successive merges never fall.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

Floats = NDArray[np.float64]
Labels = NDArray[np.int32]

# How many numbers the scalar clustering works on at a time: its temporaries then fit into a processor's cache.
CHUNK = 1 << 17


def shared_height_labels(kernels: Floats, n_merges: int) -> Labels:
    """Clusters each column's kernels up to the height at which every column has merged at least `n_merges` times.

    Args:
        kernels: (n, n_columns, d): for each column (an input channel) the n points of dimension d to cluster.
        n_merges: 0 <= n_merges < n.

    Returns:
        (n, n_columns) cluster numbers from 0, counted in each column by itself.

    >>> shared_height_labels(np.array([0.0, 0.0, 5.0, 6.0]).reshape(4, 1, 1), n_merges=2).T.tolist()
    [[0, 0, 1, 1]]
    """
    n, n_columns, d = kernels.shape
    if n_merges == 0:  # nothing has to go, so nothing stands for anything else
        return np.repeat(np.arange(n, dtype=np.int32)[:, None], n_columns, axis=1)
    if d == 1:
        return _scalar_labels(kernels[:, :, 0].T, n_merges)
    trees = [linkage(kernels[:, column], "ward") for column in range(n_columns)]  # each (n - 1, 4), heights sqrt(2 I)
    height = max(tree[n_merges - 1, 2] for tree in trees)
    return np.stack([fcluster(tree, height, "distance").astype(np.int32) - 1 for tree in trees], axis=1)


def _scalar_labels(points: Floats, n_merges: int) -> Labels:
    """The same for scalars: points (n_columns, n) -> (n, n_columns)."""
    order = points.argsort(axis=1, kind="stable")  # (n_columns, n)
    gaps = scalar_ward_costs(np.take_along_axis(points, order, axis=1))  # (n_columns, n - 1)
    height = np.partition(gaps, n_merges - 1, axis=1)[:, n_merges - 1].max()
    labels = np.zeros(order.shape, dtype=np.int32)
    np.put_along_axis(labels, order[:, 1:], (gaps > height).cumsum(axis=1, dtype=np.int32), axis=1)
    return np.ascontiguousarray(labels.T)


def scalar_ward_costs(ordered: Floats) -> Floats:
    """Costs of the Ward merges of scalars, each at the gap that the merge closes.

    On a line, for A < B < C, merging A with C is never cheaper than both merging A with B and B with C: if those cost
    more than I = I(A, C), the gaps between the means exceeded sqrt(I / |A|) and sqrt(I / |C|), and then
    I(A, C) > I * (|A|^-1/2 + |C|^-1/2)^2 / (|A|^-1 + |C|^-1) >= I. So a pair that is cheapest for both sides is a pair
    of neighbours, a merge closes exactly one gap, and all such pairs may merge at the same time (Ward's merges bring
    no cluster nearer). All columns are worked on together in a few dozen rounds over ever fewer clusters, where a tree
    per column would cost O(n^2) each.

    Args:
        ordered: (n_columns, n), ascending along each row.

    Returns:
        (n_columns, n - 1): sorted along a row, the costs I of the merges in their order.

    >>> scalar_ward_costs(np.array([[0.0, 1.0, 4.0]])).tolist()  # 1/2 * 1, then 2/3 * 3.5^2
    [[0.5, 8.166666666666666]]
    """
    n_columns, n = ordered.shape
    costs = np.empty((n_columns, n - 1))
    step = max(1, CHUNK // n)
    for start in range(0, n_columns, step):
        costs[start : start + step] = _costs_of_chunk(ordered[start : start + step])
    return costs


def _costs_of_chunk(ordered: Floats) -> Floats:
    n_columns, n = ordered.shape
    closed_at = np.full(
        ordered.size, np.inf
    )  # cost at which the gap behind each point closes; never behind a row's end
    mean, size = ordered.flatten(), np.ones(ordered.size)
    gap = np.arange(ordered.size)  # the gap behind each cluster, by its last point
    while True:
        total = size[:-1] + size[1:]
        cost = size[:-1] * size[1:] / total * (mean[1:] - mean[:-1]) ** 2
        cost[(gap[:-1] + 1) % n == 0] = np.inf
        # Of equal costs side by side, the one with the smaller of two scattered numbers goes first.
        rank = np.arange(len(cost)) * 2654435761 % (1 << 32)
        before = (cost[:-1] < cost[1:]) | ((cost[:-1] == cost[1:]) & (rank[:-1] < rank[1:]))
        cheapest = np.isfinite(cost)
        cheapest[:-1] &= before
        cheapest[1:] &= ~before
        left = np.flatnonzero(cheapest)
        if not len(left):
            return closed_at.reshape(n_columns, n)[:, :-1]
        right = left + 1
        closed_at[gap[left]] = cost[left]
        mean[left] = (size[left] * mean[left] + size[right] * mean[right]) / total[left]
        size[left] = total[left]
        gap[left] = gap[right]
        stays = np.ones(len(mean), dtype=bool)
        stays[right] = False
        mean, size, gap = mean[stays], size[stays], gap[stays]
