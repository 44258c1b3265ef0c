"""Network slimming by a proximal algorithm: scales become exactly 0, and no threshold is chosen."""

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
from compressor.training.penalties.l1 import L1
from compressor.training.regularizers._channels import at_least_one
from compressor.training.regularizers._scales import Scales, found_scales
from compressor.training.schedule import seed_of

OWNER = "proximal_slimming"
SPREAD = 0.06  # of the first xi about the first scale, where the scales start anew


@dataclass(frozen=True)
class ProximalSlimming:
    """A second copy of the scales is pulled to the first and soft-thresholded; where it is 0, the channel leaves.

    Paper: Kevin Bui, Fanghui Xue, Fredrick Park, Yingyong Qi, Jack Xin, "A Proximal Algorithm for Network Slimming",
        LOD 2023, arXiv:2307.00684.

    Equations:
        min over W, gamma, xi of L(W, gamma) + lambda sum over c of |xi_c| + beta / 2 |gamma - xi|^2
        gamma+ = (alpha gamma' + beta xi) / (alpha + beta)                                        -> `after_step`
        xi+ = prox of lambda / (alpha + beta) |.| at (alpha xi + beta gamma+) / (alpha + beta)    -> `after_step`
        prox of t |.| at v: v max(1 - t / |v|, 0); for one norm the soft threshold sign(v) max(|v| - t, 0)

    Notation:
        gamma, xi: scales and their copies; gamma': gamma after the optimizer's step on L alone; no unit.
        xi_c: the copies of channel c in all norms of its group, or in one norm if not `together`; |.|: length.
        alpha: 1 / learning rate; lambda: `strength`; beta: `beta`, both in units of the loss.

    Options:
        strength (float, default 0.004): above 0. The authors: 0.0045 (VGG-19), 0.004 (DenseNet-40), 0.002 (ResNet-164).
        beta (float, default 100.0): above 0. The authors: 100, and 0.25 for ResNet-164.
        together (bool, default True): a channel's scales in all norms of its group are one vector, and reach 0 at once;
            else each norm is by itself, as in the paper, and a channel leaves when the last of its scales is 0.
        initial_scale (float or None, default None): where all scales start (the authors: 0.5), with copies drawn
            within 6 % of it. None: as found, and the copies equal to them.

    Returns:
        `attach`: the hook. Its `channels` are the root mean square of the xi of a channel, exactly 0 where it leaves.
        `finish` sets gamma to xi.

    Deviations:
        - xi is the truth: sparsity is read from it, and it is what the scales become in the end. gamma itself comes to
          rest at 0 only where the loss has no slope, so that the authors' cut at the smallest |gamma| can miss zeros.
        - Coupled channels, and that xi is part of the saved state.
        - A learning rate of 0 (alpha infinite) changes nothing.
        - A group of which all xi are 0 keeps the channel with the longest gamma, unchanged; see `emptied`.
        - Shifts of channels that leave stay, so that the constant they bring in can be absorbed after the cut.

    Raises:
        InvalidOption: an option is out of range.
        UnsupportedModel: no group has as many norms as layers that make its channels.

    Complexity: O(channels) a step. Where a xi is not 0, the scales end at a point where the loss pulls with lambda, as
        under an l1 penalty of that strength, and gamma is lambda / beta further out than xi. On the way both move as
        gamma alone would with the learning rate divided by 2 + beta / alpha, so that a large beta needs more steps.

    Example:
        L = (gamma - 0.3)^2 / 2, lambda = 0.05, beta = 5. At rest, xi = S(0.3, 0.05 (1 + 5) / 5) = 0.24.

        >>> from compressor.core.groups import GroupMember, Role, TensorAxis
        >>> norm = torch.nn.BatchNorm2d(1)
        >>> axis = TensorAxis("0.weight", 0, (0,), (0,))
        >>> group = ChannelGroup("conv", 1, (GroupMember("0", "BatchNorm2d", Role.CHANNELWISE, (0,), (0,), (axis,)),))
        >>> model = torch.nn.Sequential(norm)
        >>> hook = ProximalSlimming(strength=0.05, beta=5.0).attach(model, [group], seed=0, n_images=1)
        >>> for step in range(500):
        ...     norm.weight.data -= 0.5 * (norm.weight.data - 0.3)
        ...     hook.after_step(Moment(step, n_steps=500, n_per_epoch=500, lr=0.5))
        >>> round(norm.weight.item(), 4), round(hook.channels()["conv"].item(), 4)
        (0.25, 0.24)
        >>> hook.finish()
        >>> round(norm.weight.item(), 4)
        0.24
    """

    summary: ClassVar[str] = "batch-norm scales that become exactly 0, without a threshold"
    paper: ClassVar[str] = "Bui et al., Proximal Network Slimming, LOD 2023, arXiv:2307.00684"
    use_when: ClassVar[str] = "the network has batch norms, and training itself shall say which channels leave"
    needs: ClassVar[frozenset[str]] = frozenset({"norm"})

    strength: float = 0.004
    beta: float = 100.0
    together: bool = True
    initial_scale: float | None = None

    def __post_init__(self) -> None:
        for option in ("strength", "beta", "initial_scale"):
            value = getattr(self, option)
            if value is not None and not 0 < value < math.inf:
                raise InvalidOption(OWNER, option, "a finite number above 0", value)

    def attach(self, model: nn.Module, groups: Sequence[ChannelGroup], *, seed: int, n_images: int) -> ChannelHook:
        """The hook at work on `model`; starts the scales anew where that was asked for."""
        scales, left_alone = found_scales(OWNER, model, groups)
        xi = gamma = scales.read()
        if self.initial_scale is not None:
            generator = torch.Generator().manual_seed(seed_of(seed, OWNER))
            noise = torch.rand(len(gamma), generator=generator).to(gamma.device)
            scales.write(torch.where(scales.inside, self.initial_scale, gamma))
            xi = torch.where(scales.inside, self.initial_scale * (1 + SPREAD * (2 * noise - 1)), gamma)
        return _Proximal(self, scales, xi, left_alone)


class _Proximal(ChannelHook):
    def __init__(self, options: ProximalSlimming, scales: Scales, xi: Tensor, left_alone: Mapping[str, str]) -> None:
        super().__init__(options, left_alone)
        self._options, self._scales, self._xi = options, scales, xi

    @torch.no_grad()
    def after_step(self, moment: Moment) -> None:
        if moment.lr == 0:
            return
        scales, gamma = self._scales, self._scales.read()
        xi = self._xi.to(gamma.device)
        pull = moment.lr * self._options.beta  # beta / alpha
        limit = moment.lr * self._options.strength / (1 + pull)  # lambda / (alpha + beta)
        nearer = (gamma + pull * xi) / (1 + pull)
        xi = (xi + pull * nearer) / (1 + pull)
        if self._options.together:
            lengths = scales.lengths(xi)
            xi = xi * scales.spread(L1().prox(lengths, limit) / lengths.where(lengths > 0, 1.0))
        else:
            xi = L1().prox(xi, limit)
        scales.write(torch.where(scales.inside, nearer, gamma))
        self._xi = xi

    def finish(self) -> None:
        scales, gamma, empty, found = self._scales, self._scales.read(), self.emptied, self.channels()
        saved = [(found[name] > 0) & (name in empty) for name in found]
        stays = scales.spread(torch.cat(saved).to(gamma)) > 0  # as they are
        scales.write(torch.where(scales.inside & ~stays, self._xi.to(gamma), gamma))

    def channels(self) -> dict[str, Tensor]:
        strongest = self._scales.by_group(self._scales.typical(self._scales.read()))
        return {name: at_least_one(sizes, strongest[name]) for name, sizes in self._sizes().items()}

    @property
    def emptied(self) -> tuple[str, ...]:
        return tuple(name for name, sizes in self._sizes().items() if not bool(sizes.any()))

    def _sizes(self) -> dict[str, Tensor]:
        gamma = self._scales.read()
        return self._scales.by_group(self._scales.typical(self._xi.to(gamma.device)))

    def state(self) -> Mapping[str, Tensor]:
        return {"xi": self._xi}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self._xi = state["xi"].to(self._xi, copy=True)


PLUGIN = ProximalSlimming
