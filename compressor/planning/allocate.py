"""How many channels each group keeps at a given level, from 0 (all) to 1 (as few as allowed)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from compressor.core.groups import ChannelGroup

# level -> wanted (unrounded) channels per group
Allocation = Callable[[float], Mapping[str, float]]


def uniform(groups: Sequence[ChannelGroup]) -> Allocation:
    """Local allocation: every group loses the same share of its channels."""
    return lambda level: {group.name: group.n_channels * (1.0 - level) for group in groups}


def by_rank(groups: Sequence[ChannelGroup], scores: Mapping[str, Tensor], comparable: bool) -> Allocation:
    """Global allocation: the channels of all groups are ranked together, and the lowest share leaves.

    Scores that mean something only inside their group are divided by their group's mean first, as is usual.
    """
    by_group = {g.name: scaled(scores[g.name], comparable) for g in groups}
    ranked = torch.cat([by_group[g.name] for g in groups]).sort().values  # (all channels,)

    def at(level: float) -> Mapping[str, float]:
        n_removed = round(level * len(ranked))
        if n_removed == 0:
            return {group.name: group.n_channels for group in groups}
        threshold = ranked[min(n_removed, len(ranked)) - 1]
        return {g.name: float((by_group[g.name] > threshold).sum()) for g in groups}

    return at


def by_ratios(groups: Sequence[ChannelGroup], ratios: Callable[[float], Mapping[str, float]]) -> Allocation:
    """Global allocation of a selector that says itself which share each group loses at an overall share below 1."""

    def at(level: float) -> Mapping[str, float]:
        share = ratios(min(level, 1.0 - 1e-9))
        return {group.name: group.n_channels * (1.0 - share.get(group.name, 0.0)) for group in groups}

    return at


def scaled(score: Tensor, comparable: bool) -> Tensor:
    """Scores of one group as they may be compared with another's."""
    mean = score.mean()
    return score if comparable or float(mean) <= 0 else score / mean
