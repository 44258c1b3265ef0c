"""Exemplars: filters that stand for the others, so that every filter is near to one of them.

Affinity propagation looks for the set K with the largest net similarity -sum over i of min over k in K of d_ik - beta
sum over k in K of m_k, where d_ik is a squared distance and m_k the median of exemplar k's. What it leaves open (where
to look for beta, no agreement, another count than was asked for) is settled greedily by the same sum.
"""

from __future__ import annotations

import heapq
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice, takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compressor.methods._seeds import random_as_found

Floats = NDArray[np.float64]

# Tried one after the other where messages swing to and fro without end.
DAMPINGS = (0.7, 0.9)
COPY = 1e-12  # of the largest squared distance: what is nearer differs by rounding only
CHEAPEST = 1e-30  # the median of a filter that most others are copies of is zero


def affinity_exemplars(squares: Floats, beta: float, damping: float, seed: int) -> tuple[list[int], bool]:
    """Affinity propagation's exemplars, ascending, and whether its messages came to rest.

    Args:
        squares: (n, n) squared distances, zeros on the diagonal.
        beta: at least 0: an exemplar costs this many times the median of its column. More make fewer exemplars.
        damping: share of the old message that stays, at least 0.5 and below 1; raised where it does not come to rest.
        seed: of the noise in the last digit that tells equals apart.

    Returns:
        The exemplars. Where they did not come to rest with any damping: those that are worth their price, greedily.

    >>> points = np.array([0.0, 1.0, 2.0, 9.0, 8.0, 7.0])
    >>> affinity_exemplars((points[:, None] - points) ** 2, 0.5, 0.5, seed=0)
    ([1, 4], True)
    """
    with random_as_found():
        from sklearn.cluster import affinity_propagation
        from sklearn.exceptions import ConvergenceWarning

    medians = np.median(squares, axis=0)  # (n,)
    for attempt in (damping, *(other for other in DAMPINGS if other > damping)):
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            warnings.filterwarnings("ignore", "All samples have mutually equal similarities", UserWarning)
            try:
                found: Any = affinity_propagation(
                    -squares, preference=-beta * medians, damping=attempt, random_state=seed, copy=False
                )
            except ConvergenceWarning:
                continue
        return _distinct(squares, sorted(int(i) for i in found[0])), True
    worthwhile = takewhile(lambda step: step[1] > beta, _additions(squares, (), medians))
    return sorted(index for index, _ in worthwhile), False


def _distinct(squares: Floats, exemplars: Sequence[int]) -> list[int]:
    """Without exemplars that are copies of earlier ones: equals hear equal messages, and stay or leave together."""
    rounding = COPY * squares.max()
    return [k for n, k in enumerate(exemplars) if not n or squares[k, list(exemplars[:n])].min() > rounding]


def greedy_betas(squares: Floats) -> Floats:
    """Where to look for a beta: (n + 1,), entry k for k exemplars; descending, entry 0 is infinite.

    Exemplars are added greedily, and entry k lies between the betas up to which the k-th and the next are worth their
    price. Affinity propagation's own count at it is most often within a few percent of k.
    """
    gains = [gain for _, gain in _additions(squares, (), np.median(squares, axis=0))]
    worth = np.array([*gains, 0.0])  # (n + 1,), descending: worth[k] is of exemplar k + 1
    between = (worth[:-1] + worth[1:]) / 2  # (n,)
    between[0] = 2 * worth[1]
    return np.concatenate([[np.inf], between])


def exactly(squares: Floats, exemplars: Sequence[int], n: int) -> list[int]:
    """`n` exemplars, ascending, made of these by the least change of the sum of squared distances to the nearest one.

    Missing ones are added one by one, each time the filter that lowers the sum most; ones too many are dropped one by
    one, each time the exemplar whose loss raises it least. Of equals, the first.

    >>> points = np.array([0.0, 1.0, 2.0, 9.0])
    >>> squares = (points[:, None] - points) ** 2
    >>> exactly(squares, [1], 2), exactly(squares, [0, 1, 3], 2)
    ([1, 3], [1, 3])
    """
    if len(exemplars) > n:
        return _dropped(squares, exemplars, n)
    added = islice(_additions(squares, exemplars, np.ones(len(squares))), n - len(exemplars))
    return sorted([*exemplars, *(index for index, _ in added)])


def _additions(squares: Floats, exemplars: Sequence[int], prices: Floats) -> Iterator[tuple[int, float]]:
    """Filters in the order in which they lower the sum most for their price, and how often that pays the price.

    A gain only falls while others are added, so the filter whose new gain beats all old ones is the best.
    """
    prices = np.maximum(prices, CHEAPEST)
    if not exemplars:
        exemplars = [int(squares.sum(0).argmin())]
        yield exemplars[0], np.inf
    nearest = squares[list(exemplars)].min(0)  # (n,)
    gains = np.maximum(nearest - squares, 0).sum(1) / prices  # (n,)
    others = set(range(len(squares))) - set(exemplars)
    queue = [(-float(gains[i]), i) for i in others]
    heapq.heapify(queue)
    while queue:
        _, index = heapq.heappop(queue)
        gain = float(np.maximum(nearest - squares[index], 0).sum() / prices[index])
        if queue and -gain > queue[0][0]:
            heapq.heappush(queue, (-gain, index))
            continue
        nearest = np.minimum(nearest, squares[index])
        yield index, gain


def _dropped(squares: Floats, exemplars: Sequence[int], n: int) -> list[int]:
    every = np.arange(len(squares))
    table = np.full_like(squares, np.inf)  # (n_filters, n_filters): rows of exemplars only
    table[list(exemplars)] = squares[list(exemplars)]
    two = table.argpartition(1, axis=0)[:2]  # (2, n_filters): nearest and second nearest exemplar
    left = set(exemplars)
    while len(left) > n:
        rise = np.bincount(two[0], table[two[1], every] - table[two[0], every], minlength=len(squares))
        out = min(left, key=lambda index: (rise[index], index))
        left.remove(out)
        table[out] = np.inf
        orphans = np.flatnonzero((two == out).any(0))
        two[:, orphans] = table[:, orphans].argpartition(1, axis=0)[:2]
    return sorted(left)
