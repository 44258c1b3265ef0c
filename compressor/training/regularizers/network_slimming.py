"""A penalty on the scales of batch norms, added to their gradients."""

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
from compressor.training.penalties._penalty import Penalty
from compressor.training.penalties.l1 import L1
from compressor.training.penalties.lp import Lp
from compressor.training.penalties.mcp import MCP
from compressor.training.penalties.scad import SCAD
from compressor.training.penalties.transformed_l1 import TransformedL1
from compressor.training.regularizers._channels import at_least_one
from compressor.training.regularizers._scales import Scales, found_scales

OWNER = "network_slimming"
PENALTIES = ("l1", "lp", "transformed_l1", "mcp", "scad")


@dataclass(frozen=True)
class NetworkSlimming:
    """Scales of channels that the loss does not hold up shrink, and those channels can be cut with little loss.

    Paper: Zhuang Liu, Jianguo Li, Zhiqiang Shen, Gao Huang, Shoumeng Yan, Changshui Zhang, "Learning Efficient
        Convolutional Networks through Network Slimming", ICCV 2017, arXiv:1708.06519 (l1); Kevin Bui, Fredrick Park,
        Shuai Zhang, Yingyong Qi, Jack Xin, "Improving Network Slimming with Nonconvex Regularization", IEEE Access 9,
        2021, arXiv:2010.01242 (the others).

    Equations:
        min over W, gamma of L(W, gamma) + lambda sum over c of rho(r_c), r_c = |gamma_c|
        d/dgamma_ck = lambda rho'(r_c) gamma_ck / r_c, 0 where r_c = 0, added before the step    -> `before_step`
        One norm: lambda rho'(|gamma_c|) sign(gamma_c), as in the papers.

    Notation:
        gamma_c: the scales of channel c in all K norms of its group, (K,), no unit; gamma_ck: one; r_c: their length.
        lambda: `strength`; rho: `penalty`, see `compressor.training.penalties`.

    Options:
        penalty (str, default "l1"): "l1", "lp", "transformed_l1", "mcp" or "scad".
        strength (float, default 1e-4): above 0, in units of the loss; inside rho for mcp and scad.
        p (float, default 0.5): of lp, above 0 and at most 1.
        a (float or None, default None): of transformed_l1, mcp and scad; None: 1 for transformed_l1; for the others
            1 / strength (or 3.7 if that is more), so that they are flat from a scale of 1 on.
        initial_scale (float or None, default None): where all scales start; the papers train from 0.5. None: as found.

    Returns:
        `attach`: the hook. Its `channels` are r_c / sqrt(K): the smallest leave, and few are exactly 0.

    Deviations:
        - A coupled channel is penalised on the length of its vector of scales, so that all of them shrink together.
          The papers penalise each norm by itself and leave residual streams whole.
        - Groups with fewer norms than layers that make a channel are left alone and listed in `left_alone`.
        - `sparsity` counts channels up to 1 % of the largest of their group.

    Raises:
        InvalidOption: an option is out of range.
        UnsupportedModel: no group has as many norms as that.

    Complexity: O(channels) a step.

    Example:
        A scale of -2, lambda = 0.1: the gradient gets 0.1 * sign(-2).

        >>> from compressor.core.groups import GroupMember, Role, TensorAxis
        >>> model = torch.nn.Sequential(torch.nn.BatchNorm2d(2))
        >>> model[0].weight.data, model[0].weight.grad = torch.tensor([-2.0, 3.0]), torch.zeros(2)
        >>> both = (0, 1)
        >>> axis = TensorAxis("0.weight", 0, both, both)
        >>> group = ChannelGroup("conv", 2, (GroupMember("0", "BatchNorm2d", Role.CHANNELWISE, both, both, (axis,)),))
        >>> hook = NetworkSlimming(strength=0.1).attach(model, [group], seed=0, n_images=1)
        >>> hook.before_step(Moment(step=0, n_steps=1, n_per_epoch=1, lr=0.1))
        >>> [round(g, 4) for g in model[0].weight.grad.tolist()]
        [-0.1, 0.1]
    """

    summary: ClassVar[str] = "a penalty on batch-norm scales: l1, lp, transformed l1, MCP or SCAD"
    paper: ClassVar[str] = "Liu et al., Network Slimming, ICCV 2017, arXiv:1708.06519"
    use_when: ClassVar[str] = "the network has batch norms, and the cut is chosen afterwards"
    needs: ClassVar[frozenset[str]] = frozenset({"norm"})

    penalty: str = "l1"
    strength: float = 1e-4
    p: float = 0.5
    a: float | None = None
    initial_scale: float | None = None

    def __post_init__(self) -> None:
        if self.penalty not in PENALTIES:
            raise InvalidOption(OWNER, "penalty", f"one of {', '.join(PENALTIES)}", self.penalty)
        if not 0 < self.strength < math.inf:
            raise InvalidOption(OWNER, "strength", "a finite number above 0", self.strength)
        if self.initial_scale is not None and not 0 < self.initial_scale < math.inf:
            raise InvalidOption(OWNER, "initial_scale", "a finite number above 0", self.initial_scale)
        self.rho()

    def rho(self) -> tuple[float, Penalty]:
        """The penalty, and the strength that stands before it."""
        bend = max(1 / self.strength, 3.7) if self.a is None else self.a
        outside: dict[str, Penalty] = {"l1": L1()}
        if self.penalty == "lp":
            outside["lp"] = Lp(self.p)
        if self.penalty == "transformed_l1":
            outside["transformed_l1"] = TransformedL1(1.0 if self.a is None else self.a)
        if self.penalty in outside:
            return self.strength, outside[self.penalty]
        return 1.0, MCP(self.strength, bend) if self.penalty == "mcp" else SCAD(self.strength, bend)

    def attach(self, model: nn.Module, groups: Sequence[ChannelGroup], *, seed: int, n_images: int) -> ChannelHook:
        """The hook at work on `model`; starts the scales anew where that was asked for."""
        scales, left_alone = found_scales(OWNER, model, groups)
        if self.initial_scale is not None:
            scales.write(torch.where(scales.inside, self.initial_scale, scales.read()))
        return _Slimming(self, scales, left_alone)


class _Slimming(ChannelHook):
    negligible = 0.01

    def __init__(self, options: NetworkSlimming, scales: Scales, left_alone: Mapping[str, str]) -> None:
        super().__init__(options, left_alone)
        self._scales = scales
        self._strength, self._penalty = options.rho()

    @torch.no_grad()
    def before_step(self, moment: Moment) -> None:
        gamma = self._scales.read()
        lengths = self._scales.lengths(gamma)
        slopes = self._strength * self._penalty.subgradient(lengths) / lengths.where(lengths > 0, 1.0)
        self._scales.add_to_gradients(gamma * self._scales.spread(slopes))

    def channels(self) -> dict[str, Tensor]:
        found = self._scales.by_group(self._scales.typical(self._scales.read()))
        return {name: at_least_one(sizes, sizes) for name, sizes in found.items()}


PLUGIN = NetworkSlimming
