"""Filters that become 0 as a whole, and single weights that do, by a second copy of the weights."""

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
from compressor.training.penalties._penalty import Penalty
from compressor.training.penalties.l0 import L0
from compressor.training.penalties.l1 import L1
from compressor.training.penalties.l1_minus_l2 import L1MinusL2
from compressor.training.penalties.scad import SCAD
from compressor.training.penalties.transformed_l1 import TransformedL1
from compressor.training.regularizers._channels import Slice, at_least_one, channel_norms, filters

OWNER = "sparse_group_lasso"
PENALTIES = ("l0", "l1", "transformed_l1", "l1_minus_l2", "scad")
NOT_MADE = "no weight, or one that is not trained, makes some of its channels."


@dataclass(frozen=True)
class SparseGroupLasso:
    """Channels' filters are group-soft-thresholded, and a sparse copy of the weights draws the weights to itself.

    Paper: Kevin Bui, Fredrick Park, Shuai Zhang, Yingyong Qi, Jack Xin, "Structured Sparsity of Convolutional Neural
        Networks via Nonconvex Sparse Group Regularization", Front. Appl. Math. Stat. 6, 2021,
        doi:10.3389/fams.2020.529564; l0 alone: the same authors, 2019, arXiv:1912.07868.

    Equations:
        min over W, U of L(W) + 1/N (lambda sum over c of sqrt(n_c) |W_c| + lambda P(U) + beta / 2 |W - U|^2)
        W+ = prox of eta lambda / (N (1 + kappa)) sum of sqrt(n_c) |.| at (W' + kappa U) / (1 + kappa),
             kappa = eta beta / N: W_c max(1 - t sqrt(n_c) / |W_c|, 0)                 -> `after_step`
        U+ = prox of lambda / beta P at W+                                             -> `SparseGroupLasso.prox`
        beta+ = `growth` * beta every `every` epochs                                   -> `end_epoch`

    Notation:
        W_c: all weights of the filters that make channel c, in all layers of its group; n_c: their number; |.|: length.
        W': W after the optimizer's step on L; U: the copy; P: `penalty`, over single weights.
        eta: learning rate; N: training images (`n_images`); lambda: `strength`; beta: `beta`.

    Options:
        penalty (str, default "l0"): "l0", "l1", "transformed_l1", "l1_minus_l2" (a layer's weights are the vector) or
            "scad" (with lambda / beta as its own strength and a = 3.7).
        strength (float, default 5.0): above 0, in units of the loss summed over the images. Quote it with N.
        beta (float, default 25000.0): above 0. With l0, U has no weight up to sqrt(2 strength / beta).
        growth (float, default 1.25): at least 1.
        every (int, default 20): epochs, at least 1.
        a (float, default 1.0): of transformed_l1, above 0.
        alpha (float, default 1.0): of l1_minus_l2, 0 to 1.

    Returns:
        `attach`: the hook. Its `channels` are |U_c| / sqrt(n_c), exactly 0 where the channel leaves. `finish` sets W to
        U.

    Deviations:
        - The terms of W besides the loss are a proximal map after the optimizer's step, not a part of its gradient:
          filters reach exactly 0, there is no slope at 0 to define, and a large beta cannot make the step diverge.
        - Groups are the filters of all layers that make a channel; the paper takes those of each convolution by itself,
          and for dense layers the weights that leave an input. Biases and what reads the channel are not regularised.
        - U starts at its best value for the first W, not at random. U is what the weights become in the end, where the
          authors count weights of W below 1e-5; the defaults therefore hold U near W (threshold 0.02 under l0), and are
          for 50,000 images. The authors' are 0.1 and 2.5 (LeNet-5), 0.001 and 0.04 (Wide ResNet).
        - A group of which all U_c are 0 keeps the channel with the longest W_c, unchanged; see `emptied`.
        - A filter behind which a batch norm stands can shrink without effect until it is 0: only the smallest are
          driven there, and network slimming acts sooner.

    Raises:
        InvalidOption: an option is out of range.
        UnsupportedModel: no group has channels that trained weights make.

    Complexity: a few passes over the filters a step, and memory for a copy of them.

    Example:
        sqrt(2 * 0.32 / 4) = 0.4: what is not above it is 0 in U.

        >>> SparseGroupLasso(strength=0.32).prox(torch.tensor([0.5, -0.39, 0.1]), beta=4.0).tolist()
        [0.5, 0.0, 0.0]
    """

    summary: ClassVar[str] = "filters and single weights that become exactly 0, by variable splitting"
    paper: ClassVar[str] = "Bui et al., Sparse Group Lasso, 2021, doi:10.3389/fams.2020.529564"
    use_when: ClassVar[str] = "the network has no batch norms, and filters shall be exactly 0"
    needs: ClassVar[frozenset[str]] = frozenset()

    penalty: str = "l0"
    strength: float = 5.0
    beta: float = 25000.0
    growth: float = 1.25
    every: int = 20
    a: float = 1.0
    alpha: float = 1.0

    def __post_init__(self) -> None:
        if self.penalty not in PENALTIES:
            raise InvalidOption(OWNER, "penalty", f"one of {', '.join(PENALTIES)}", self.penalty)
        for option in ("strength", "beta"):
            if not 0 < getattr(self, option) < math.inf:
                raise InvalidOption(OWNER, option, "a finite number above 0", getattr(self, option))
        if not 1 <= self.growth < math.inf:
            raise InvalidOption(OWNER, "growth", "a finite number, at least 1", self.growth)
        if self.every < 1:
            raise InvalidOption(OWNER, "every", "at least 1", self.every)
        TransformedL1(self.a)
        L1MinusL2(self.alpha)

    def attach(self, model: nn.Module, groups: Sequence[ChannelGroup], *, seed: int, n_images: int) -> ChannelHook:
        """The hook at work on `model`."""
        if n_images < 1:
            raise InvalidOption(OWNER, "n_images", "at least 1", n_images)
        found, left_alone = {}, {}
        for group in groups:
            slices = filters(model, group)
            trained = slices and all(each.parameter.requires_grad for each in slices)
            if trained and bool((_total(slices) > 0).all()):
                found[group.name] = slices
            else:
                left_alone[group.name] = NOT_MADE
        if not found:
            raise UnsupportedModel(
                f"{OWNER}: trained weights must make all channels of some group, but none is so "
                f"(looked at: {', '.join(left_alone) or 'no groups at all'}). Set requires_grad on the filters."
            )
        return _Split(self, found, n_images, left_alone)

    def prox(self, weights: Tensor, beta: float) -> Tensor:
        """The best U for these weights, (any shape)."""
        t = self.strength / beta
        if self.penalty == "scad":
            return SCAD(t).prox(weights, 1.0)
        others: dict[str, Penalty] = {
            "l0": L0(),
            "l1": L1(),
            "transformed_l1": TransformedL1(self.a),
            "l1_minus_l2": L1MinusL2(self.alpha),
        }
        return others[self.penalty].prox(weights, t)


class _Split(ChannelHook):
    def __init__(
        self,
        options: SparseGroupLasso,
        slices: Mapping[str, tuple[Slice, ...]],
        n_images: int,
        left_alone: Mapping[str, str],
    ) -> None:
        super().__init__(options, left_alone)
        self._options, self._slices, self._n_images, self._beta = options, slices, n_images, options.beta
        pieces = [each for found in slices.values() for each in found]
        self._weights = {each.name: each.parameter for each in pieces}
        self._inside = {name: torch.zeros((), dtype=torch.bool) for name in self._weights}  # what is of a group
        for each in pieces:
            self._inside[each.name] = self._inside[each.name] | (each.along(torch.ones(each.n_channels)) > 0)
        self._roots = {name: _total(found).sqrt() for name, found in slices.items()}  # of n_c, (n_channels,)
        self._copies = {name: self._sparse(name) for name in self._weights}

    @torch.no_grad()
    def after_step(self, moment: Moment) -> None:
        pull = moment.lr * self._beta / self._n_images  # kappa
        for name, weight in self._weights.items():
            drawn = (weight + pull * self._copies[name].to(weight.device)) / (1 + pull)
            weight.copy_(torch.where(self._of(name), drawn, weight))
        for name, slices in self._slices.items():
            lengths = channel_norms(slices)  # (n_channels,)
            limits = moment.lr * self._options.strength / self._n_images / (1 + pull) * self._roots[name].to(lengths)
            shares = torch.where(lengths > limits, 1 - limits / lengths, 0.0)
            for each in slices:
                each.parameter.mul_(each.along(shares, elsewhere=1.0))
        self._copies = {name: self._sparse(name) for name in self._weights}

    def end_epoch(self, moment: Moment) -> None:
        if (moment.epoch + 1) % self._options.every == 0:
            self._beta *= self._options.growth

    @torch.no_grad()
    def finish(self) -> None:
        found, empty = self.channels(), self.emptied
        saved = {name: self._weights[name].clone() for name in self._weights}
        for name, weight in self._weights.items():
            weight.copy_(torch.where(self._of(name), self._copies[name].to(weight.device), weight))
        for name in empty:
            stays = found[name] > 0
            for each in self._slices[name]:
                there = each.along(stays.to(each.parameter)) > 0
                each.parameter.copy_(torch.where(there, saved[each.name], each.parameter))

    def channels(self) -> dict[str, Tensor]:
        found = {}
        for name in self._slices:
            sizes = at_least_one(self._sizes(name, self._copies), self._sizes(name, self._weights))
            found[name] = sizes.float().cpu()
        return found

    @property
    def emptied(self) -> tuple[str, ...]:
        return tuple(name for name in self._slices if not bool(self._sizes(name, self._copies).any()))

    def state(self) -> Mapping[str, Tensor]:
        beta = torch.tensor(self._beta, dtype=torch.float64)
        return {"beta": beta, **{f"copy.{name}": copy for name, copy in self._copies.items()}}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self._beta = state["beta"].item()
        self._copies = {name: state[f"copy.{name}"].to(copy, copy=True) for name, copy in self._copies.items()}

    def _of(self, name: str) -> Tensor:
        self._inside[name] = self._inside[name].to(self._weights[name].device)
        return self._inside[name]

    def _sparse(self, name: str) -> Tensor:
        """U for the weights as they are; what is of no group is taken over."""
        weight = self._weights[name].detach()
        inside = self._of(name)
        return torch.where(inside, self._options.prox(weight.where(inside, 0.0), self._beta), weight)

    def _sizes(self, name: str, tensors: Mapping[str, Tensor]) -> Tensor:
        """Root mean square of each channel's filters, of the weights or their copies: (n_channels,)."""
        slices = self._slices[name]
        there = {each.name: tensors[each.name].detach().to(each.parameter.device) for each in slices}
        lengths = channel_norms(slices, there)
        return lengths / self._roots[name].to(lengths)


def _total(slices: Sequence[Slice]) -> Tensor:
    """Entries of each channel: (n_channels,)."""
    return torch.stack([each.n_entries() for each in slices]).sum(0)


PLUGIN = SparseGroupLasso
