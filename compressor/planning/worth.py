"""What it is worth to keep k channels of a group: the importance that a plan in time keeps as much of as it can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from compressor.core.groups import ChannelGroup, ModelCost
from compressor.graph.cost import CostModel
from compressor.planning.allocate import Allocation

LEVELS = 64  # at which an allocation is asked what it would keep


def worth_of_scores(scores: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Sums of the k best scores: {group: (n_channels + 1,)}."""
    found = {}
    for name, score in scores.items():
        best_first = score.double().clamp(min=0).sort(descending=True).values
        found[name] = torch.cat([torch.zeros(1, dtype=torch.float64), best_first.cumsum(0)]).numpy()
    return found


def worth_of_levels(groups: Sequence[ChannelGroup], cost: ModelCost, allocation: Allocation) -> dict[str, np.ndarray]:
    """Where channels of different groups cannot be compared: an allocation says which leave early.

    A channel is worth the level at which the allocation lets go of it, times the multiply-accumulates behind it. So in
    a model whose time is its multiply-accumulates, groups shrink as the allocation says; where a group takes more time
    than its multiply-accumulates promise, it gives more.
    """
    kept = {group.name: np.zeros(LEVELS + 1) for group in groups}
    levels = np.linspace(0, 1, LEVELS + 1)
    for place, level in enumerate(levels):
        for name, count in allocation(float(level)).items():
            kept[name][place] = count
    model = CostModel(cost, groups)
    whole = model.predict({})[0]
    found = {}
    for group in groups:
        n = group.n_channels
        half = model.predict({group.name: max(1, n // 2)})[0]
        behind = max(0.0, whole - half) / max(1, n - max(1, n // 2))  # of one channel
        falling = np.minimum.accumulate(kept[group.name])
        # The level at which fewer than j channels are left.
        leaves = np.array([levels[np.searchsorted(-falling, -(j - 1e-9), side="right") - 1] for j in range(1, n + 1)])
        found[group.name] = np.concatenate([[0.0], np.cumsum(behind * (leaves + 1 / LEVELS))])
    return found


def worth_between(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What two opinions agree on: what a group's missing channels cost is the geometric mean of both.

    Their units need not be the same.

    >>> opinions = {"conv": np.array([0.0, 3.0, 4.0])}, {"conv": np.array([0.0, 1.0, 2.0])}
    >>> worth_between(*opinions)["conv"].round(2).tolist()
    [0.0, 1.83, 2.83]
    """
    lost = {name: np.sqrt((worth[-1] - worth) * (other[name][-1] - other[name])) for name, worth in one.items()}
    return {name: missing[0] - missing for name, missing in lost.items()}


def worth_of_damage(shares: Mapping[str, Mapping[float, float]], sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """From what a group alone costs in output when only a share of it is kept: {group: {share kept: damage}}.

    Between the shares that were tried it is interpolated, and it never falls as channels leave.

    Args:
        shares: of at least the groups in `sizes`.
        sizes: channels of each group whose worth is wanted.
    """
    found = {}
    for name, n in sizes.items():
        known = sorted({**shares[name], 1.0: 0.0}.items())
        positions = np.array([share for share, _ in known])
        damage = np.maximum.accumulate(np.array([hurt for _, hurt in known])[::-1])[::-1]
        at = np.interp(np.arange(n + 1) / n, positions, damage)
        slope = (damage[0] - damage[1]) / (positions[1] - positions[0]) if len(known) > 1 else 0.0
        below = np.arange(n + 1) / n < positions[0]
        at[below] = damage[0] + slope * (positions[0] - np.arange(n + 1)[below] / n)
        found[name] = at[0] - at
    return found
