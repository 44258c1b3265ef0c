"""The criterion that goes by what training for the cut made of each channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from compressor.core.groups import ChannelGroup
from compressor.core.protocols import MethodContext


@dataclass(frozen=True)
class Trained:
    """Channels that a regulariser drove to nothing leave first, then the smaller before the larger.

    It is no plug-in, since it judges nothing by itself: the importance comes with the context, from `--train` or from a
    training of the caller's own. Its unit is the regulariser's, and the same for all groups.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> context = MethodContext(nn.Identity(), importance={"conv": torch.tensor([0.0, 0.7])})
        >>> Trained().scores([ChannelGroup("conv", 2, ()), ChannelGroup("other", 3, ())], context)
        {'conv': tensor([0.0000, 0.7000])}
    """

    summary: ClassVar[str] = "what training for the cut left of each channel"
    paper: ClassVar[str] = ""
    use_when: ClassVar[str] = "--train was given; it is the default then"
    needs: ClassVar[frozenset[str]] = frozenset()
    comparable: ClassVar[bool] = True

    def scores(self, groups: Sequence[ChannelGroup], context: MethodContext) -> Mapping[str, Tensor]:
        """{group name: importance (n_channels,)}; groups of which the training says nothing are absent."""
        known = context.importance or {}
        return {group.name: known[group.name] for group in groups if group.name in known}
