"""A hook that says what it makes of each channel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor

from compressor.training.hooks import Hook


class ChannelHook(Hook, ABC):
    """A regulariser at work on the groups of one model.

    Attributes:
        options: the regulariser that it is of.
        left_alone: {group: why nothing is asked of it}.
        negligible: a channel counts as gone in `sparsity` up to this share of its group's largest importance.
    """

    negligible = 0.0

    def __init__(self, options: object, left_alone: Mapping[str, str]) -> None:
        self.options, self.left_alone = options, dict(left_alone)

    @abstractmethod
    def channels(self) -> dict[str, Tensor]:
        """{group: importance (n_channels,), float32 on the CPU}: larger = keep, exactly 0 = may leave.

        At least one channel of every group is above 0, and the unit is the same for all groups. Groups that were left
        alone are absent.
        """

    @property
    def emptied(self) -> tuple[str, ...]:
        """Groups that were driven to nothing, of which the strongest channel is kept all the same."""
        return ()

    def sparsity(self) -> float:
        """Share of the channels that could leave now."""
        found = self.channels().values()
        gone = sum(int((importance <= self.negligible * importance.max()).sum()) for importance in found)
        return gone / sum(len(importance) for importance in found)
