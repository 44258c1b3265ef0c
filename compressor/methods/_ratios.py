"""Shares of selectors that say nothing about groups in comparison with each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from compressor.core.errors import InvalidOption
from compressor.core.groups import ChannelGroup


def equal_ratios(method: str, groups: Sequence[ChannelGroup], pruning_ratio: float) -> Mapping[str, float]:
    """{group name: the same share to remove}, at most (n_channels - 1) / n_channels.

    Raises:
        InvalidOption: `pruning_ratio` is out of range.
    """
    if not 0 <= pruning_ratio < 1:
        raise InvalidOption(method, "pruning_ratio", "at least 0 and below 1", pruning_ratio)
    return {group.name: min(pruning_ratio, (group.n_channels - 1) / group.n_channels) for group in groups}
