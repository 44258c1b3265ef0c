"""Sparse learning on dependency groups: what is small in all coupled layers together is made smaller."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from compressor.core.errors import InvalidOption, UnsupportedModel
from compressor.core.groups import ChannelGroup
from compressor.training.channel_hook import ChannelHook
from compressor.training.hooks import Moment
from compressor.training.regularizers._channels import Slice, all_weights, at_least_one, channel_norms

OWNER = "group_lasso"


@dataclass(frozen=True)
class GroupLasso:
    """All weights that would leave with a channel decay together, and faster the less they amount to in their group.

    Paper: Gongfan Fang, Xinyin Ma, Mingli Song, Michael Bi Mi, Xinchao Wang, "DepGraph: Towards Any Structural
        Pruning", CVPR 2023, arXiv:2301.12900, section 3.4 (group-level sparse training).

    Equations:
        r_c = |w_c|                                                                  -> `channel_norms`
        s_c = 2^(alpha (max r - r_c) / (max r - min r)), from 1 to 2^alpha           -> `shrinkage`
        R = lambda / 2 sum over c of s_c r_c^2 with s held: lambda s_c w_c is added to the gradient   -> `before_step`

    Notation:
        w_c: all weights of channel c: rows of the layers that make it, norm scales, depthwise kernels, columns of the
        layers that read it; |.|: Euclidean norm. max, min: over the channels of the group.
        s_c: no unit; lambda: `strength`, alpha: `alpha`.

    Options:
        strength (float, default 1e-4): above 0, a decay like that of the optimizer.
        alpha (float, default 4.0): at least 0; the weakest channel decays 2^alpha times as fast as the strongest.
        bias (bool, default False): biases and shifts of norms decay, too, and count in r.

    Returns:
        `attach`: the hook. Its `channels` are r_c over the mean r of the group, as the authors compare groups: the
        smallest leave, and few are exactly 0.

    Deviations:
        - Depthwise kernels and bare parameters of the group belong to w_c, and r_c is the length of all of w_c, where
          the authors' code takes the mean over layers. An entry that is in row and column of one channel counts once.
        - Groups whose channels are all alike decay at strength lambda.
        - `sparsity` counts channels up to 1 % of the largest of their group.

    Raises:
        InvalidOption: an option is out of range.
        UnsupportedModel: there is no group.

    Complexity: two passes over the weights of all groups a step.

    Example:
        Lengths 3, 2 and 1: the strongest decays at 1, the weakest at 2^4, the one between at 2^2.

        >>> shrinkage(torch.tensor([3.0, 2.0, 1.0]), 4.0).tolist()
        [1.0, 4.0, 16.0]
    """

    summary: ClassVar[str] = "decay of all weights of a channel, stronger for weak channels (DepGraph)"
    paper: ClassVar[str] = "Fang et al., DepGraph, CVPR 2023, arXiv:2301.12900"
    use_when: ClassVar[str] = "the network has no batch norms, or as the baseline of the family"
    needs: ClassVar[frozenset[str]] = frozenset()

    strength: float = 1e-4
    alpha: float = 4.0
    bias: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.strength < math.inf:
            raise InvalidOption(OWNER, "strength", "a finite number above 0", self.strength)
        if not 0 <= self.alpha < math.inf:
            raise InvalidOption(OWNER, "alpha", "a finite number, at least 0", self.alpha)

    def attach(self, model: nn.Module, groups: Sequence[ChannelGroup], *, seed: int, n_images: int) -> ChannelHook:
        """The hook at work on `model`."""
        if not groups:
            raise UnsupportedModel(f"{OWNER}: at least one group of channels must be given, but there is none.")
        return _Decay(self, {group.name: all_weights(model, group, self.bias) for group in groups})


def shrinkage(norms: Tensor, alpha: float) -> Tensor:
    """How many times as fast as the strongest each channel decays: (n_channels,)."""
    spread = norms.max() - norms.min()
    return torch.exp2(alpha * (norms.max() - norms) / spread.where(spread > 0, 1.0))


class _Decay(ChannelHook):
    negligible = 0.01

    def __init__(self, options: GroupLasso, slices: Mapping[str, tuple[Slice, ...]]) -> None:
        super().__init__(options, {})
        self._options, self._slices = options, slices

    @torch.no_grad()
    def before_step(self, moment: Moment) -> None:
        for slices in self._slices.values():
            factors = shrinkage(channel_norms(slices), self._options.alpha)  # (n_channels,)
            for each in slices:
                if each.parameter.grad is not None:
                    each.parameter.grad.addcmul_(each.parameter, each.along(factors), value=self._options.strength)

    def channels(self) -> dict[str, Tensor]:
        found = {}
        for name, slices in self._slices.items():
            norms = channel_norms(slices).float().cpu()
            norms = norms / norms.mean().clamp_min(torch.finfo(norms.dtype).tiny)
            found[name] = at_least_one(norms, norms)
        return found


PLUGIN = GroupLasso
