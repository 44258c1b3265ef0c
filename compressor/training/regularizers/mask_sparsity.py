"""A penalty on the scales of those channels only that will be removed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from compressor.core.errors import InvalidOption
from compressor.core.groups import ChannelGroup
from compressor.training.channel_hook import ChannelHook
from compressor.training.hooks import Moment
from compressor.training.regularizers._scales import Scales, found_scales

OWNER = "mask_sparsity"
GONE = 0.01  # the authors' threshold on |gamma|, for `sparsity`


@dataclass(frozen=True)
class MaskSparsity:
    """A mask is chosen first; only what it removes is made sparse, and what stays is left to the loss.

    Paper: Nanfei Jiang, Xu Zhao, Chaoyang Zhao, Yongqi An, Ming Tang, Jinqiao Wang, "Pruning-aware Sparse
        Regularization for Network Pruning", Machine Intelligence Research 20, 2023, arXiv:2201.06776.

    Equations:
        m_ck = 1 where |gamma_ck| is among the smallest share `ratio` of all scales: norm k's vote    -> `votes`
        m_c = 1 where at least v norms voted for channel c; v is the largest number that gives at least
              min over k of sum over c of m_ck channels                                               -> `agreed`
        d/dgamma_ck = lambda sign(gamma_ck) where m_c = 1, added between backward and step            -> `before_step`

    Notation:
        gamma_ck: scale of channel c in norm k of its group, no unit; m: the mask, 1 = will be removed.
        lambda: `strength`.

    Options:
        strength (float, default 5e-4): above 0, in units of the loss.
        ratio (float, default 0.5): above 0, below 1: share of all scales that are voted for. Not looked at with `kept`.
        kept (dict of str to tuple of int, or None, default None): {group: channels that stay}, from any method. Groups
            that it does not name stay whole.

    Returns:
        `attach`: the hook. Its `channels` are 0 for what the mask removes, and for the rest the root mean square of a
        channel's scales.
        `finish` sets the scales of removed channels to exactly 0.

    Deviations:
        - The share of all scales in place of a threshold on |gamma| (the authors: 0.01 after training with l1 on all).
          For their first phase, train with network_slimming, and give what it leaves as `kept`.
        - A norm that sees some of the group's channels only has no say on the others: v counts missing votes.
        - Each group keeps at least one channel, the one with the fewest votes, then the longest scales.
        - Shifts of channels that leave stay, so that the constant they bring in can be absorbed after the cut.

    Raises:
        InvalidOption: an option is out of range, `kept` names an unknown group or channel or keeps nothing of one.
        UnsupportedModel: no group has as many norms as layers that make its channels.

    Complexity: O(channels) a step.

    Example:
        Two norms of one group vote on three channels. Both are against channel 0, and the smaller number of votes
        that a norm cast is 1: channel 0 goes.

        >>> cast = torch.tensor([[True, True, False], [True, False, False]])
        >>> agreed(cast, torch.ones(2, 3, dtype=torch.bool)).tolist()
        [True, False, False]
    """

    summary: ClassVar[str] = "l1 on the batch-norm scales of channels that will be removed, and of no others"
    paper: ClassVar[str] = "Jiang et al., MaskSparsity, 2022, arXiv:2201.06776"
    use_when: ClassVar[str] = "the channels to remove are known, and the others shall keep their freedom"
    needs: ClassVar[frozenset[str]] = frozenset({"norm"})

    strength: float = 5e-4
    ratio: float = 0.5
    kept: Mapping[str, tuple[int, ...]] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.strength < math.inf:
            raise InvalidOption(OWNER, "strength", "a finite number above 0", self.strength)
        if not 0 < self.ratio < 1:
            raise InvalidOption(OWNER, "ratio", "above 0 and below 1", self.ratio)
        for name, channels in (self.kept or {}).items():
            if not channels:
                raise InvalidOption(OWNER, "kept", f"at least one channel of {name}", channels)

    def attach(self, model: nn.Module, groups: Sequence[ChannelGroup], *, seed: int, n_images: int) -> ChannelHook:
        """The hook at work on `model`, with the mask that its scales say now, or `kept`."""
        scales, left_alone = found_scales(OWNER, model, groups)
        if self.kept is None:
            masks = votes(scales, self.ratio)
        else:
            self._check(groups)
            masks = {name: torch.zeros(n, dtype=torch.bool) for name, n in scales.sizes.items()}
            for name in self.kept.keys() & masks.keys():
                masks[name][:] = True
                masks[name][list(self.kept[name])] = False
        return _Masked(self, scales, torch.cat(list(masks.values())), left_alone)

    def _check(self, groups: Sequence[ChannelGroup]) -> None:
        sizes = {group.name: group.n_channels for group in groups}
        for name, channels in (self.kept or {}).items():
            if name not in sizes:
                raise InvalidOption(OWNER, "kept", f"of groups among {', '.join(sizes)}", name)
            if not set(channels) <= set(range(sizes[name])):
                raise InvalidOption(OWNER, "kept", f"channels from 0 to {sizes[name] - 1} of {name}", channels)


def votes(scales: Scales, ratio: float) -> dict[str, Tensor]:
    """{group: mask (n_channels,)}: the smallest share `ratio` of all scales, and what each group's norms agree on."""
    size = scales.read().abs()
    small = torch.zeros_like(scales.inside)
    inside = scales.inside.nonzero().flatten()
    small[inside[size[inside].argsort(stable=True)[: math.floor(ratio * len(inside))]]] = True
    lengths = scales.by_group(scales.lengths(size))
    masks = {}
    for name, (cast, sees) in scales.by_norm(small).items():
        mask = agreed(cast, sees)
        if bool(mask.all()):
            support = (sees & ~cast).sum(0)  # (n_channels,)
            mask[lengths[name].where(support == support.max(), -1.0).argmax()] = False
        masks[name] = mask
    return masks


def agreed(cast: Tensor, sees: Tensor) -> Tensor:
    """What is removed by these votes: mask (n_channels,).

    Args:
        cast: (norms, n_channels) bool, True: this norm would remove the channel.
        sees: (norms, n_channels) bool, False: this norm does not see the channel.
    """
    fewest = int(cast.sum(1).min())
    missing = (sees & ~cast).sum(0)  # (n_channels,)
    for n_missing in range(len(cast)):
        mask = (missing <= n_missing) & cast.any(0)
        if int(mask.sum()) >= fewest:
            break
    return mask


class _Masked(ChannelHook):
    def __init__(self, options: MaskSparsity, scales: Scales, mask: Tensor, left_alone: Mapping[str, str]) -> None:
        super().__init__(options, left_alone)
        self._strength, self._scales, self._mask = options.strength, scales, mask  # (channels of all groups,) bool

    @torch.no_grad()
    def before_step(self, moment: Moment) -> None:
        gamma = self._scales.read()
        self._scales.add_to_gradients(self._strength * gamma.sign() * self._leaving(gamma))

    def finish(self) -> None:
        gamma = self._scales.read()
        self._scales.write(gamma.where(self._leaving(gamma) == 0, 0.0))

    def channels(self) -> dict[str, Tensor]:
        staying = self._sizes().clamp_min(torch.finfo(torch.float32).tiny)
        return self._scales.by_group(staying.where(~self._mask, 0.0))

    def sparsity(self) -> float:
        gone = (self._sizes() <= GONE) & self._mask
        return int(gone.sum()) / len(gone)

    def state(self) -> Mapping[str, Tensor]:
        return {"mask": self._mask}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self._mask = state["mask"].to(self._mask, copy=True)

    def _leaving(self, gamma: Tensor) -> Tensor:
        """1 for the scales of channels that will be removed: (n_scales,)."""
        self._mask = self._mask.to(gamma.device)
        return self._scales.spread(self._mask.to(gamma))

    def _sizes(self) -> Tensor:
        sizes = self._scales.typical(self._scales.read())  # (channels of all groups,)
        self._mask = self._mask.to(sizes.device)
        return sizes


PLUGIN = MaskSparsity
