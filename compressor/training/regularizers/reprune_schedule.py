"""REPrune while training: filters that represent the others stay, and some of those that fell silent grow back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from compressor.core.errors import InvalidOption, UnsupportedModel
from compressor.core.groups import ChannelGroup, GroupMember, TensorAxis
from compressor.core.protocols import MethodContext
from compressor.methods.bn_scale import NormScale
from compressor.methods.reprune import RePrune
from compressor.training.hooks import Moment
from compressor.training.regularizers._channels import Slice, channel_norms, filters, norm_scales
from compressor.training.regularizers._masks import MaskingHook, evaluating, maskable
from compressor.training.schedule import seed_of

OWNER = "reprune_schedule"
NOT_MADE = "no weight makes some of its channels."
Part = TypeVar("Part", GroupMember, TensorAxis)


@dataclass(frozen=True)
class RePruneSchedule:
    """Every few epochs each layer's share is set anew, representatives are selected, and a few channels grow back.

    Paper: Mincheol Park, Dongjin Kim, Cheonjun Park, Yuna Park, Gyeong Eun Gong, Won Woo Ro, Suhyun Kim, "REPrune:
        Channel Pruning via Kernel Representative Selection", AAAI 2024, arXiv:2402.17862; the regrowth: Zejiang Hou,
        Minghai Qin, Fei Sun, Xiaolong Ma, Kun Yuan, Yi Xu, Yen-Kuang Chen, Rong Jin, Yuan Xie, Sun-Yuan Kung, "CHEX:
        CHannel EXploration for CNN Model Compression", CVPR 2022, arXiv:2203.15794.

    Equations:
        selections at the end of epochs D, 2 D, ..., n D; n D <= T                          -> `selection`
        s_l: share of the layer's |gamma| up to the s-quantile of all |gamma|               -> `RePrune.ratios`
        K_l: (1 - s_l) n_l representatives among the layer's live filters                   -> `RePrune.select`
        d_k = d_0 (1 + cos(pi k / n)) / 2; ceil(d_k n_l) of the others grow back            -> `regrown`
        drawn without replacement, p_j ~ exp(e_j); e_j = |w_j - P w_j|, P projects on the
        span of the filters of K_l                                                          -> `distances`

    Notation:
        s: `ratio`; D: `every`; T: `until` times the epochs of the run; k: number of the selection, from 1 to n.
        n_l: channels of layer l; gamma: batch-norm scales, 0 for silent channels; d_0: `regrow`.
        w_j: filter j, flattened, or all filters that make channel j side by side.

    Options:
        ratio (float, default 0.5): above 0, below 1. The authors: 0.55 for ResNet-56 on CIFAR-10.
        every (int, default 2): epochs, at least 1. The authors: 2 on ImageNet.
        until (float, default 0.6): above 0 up to 1; the masks are frozen after this share of the epochs. The authors:
            96 of 160 on CIFAR-10, 180 of 250 on ImageNet.
        regrow (float, default 0.2): at least 0, below 1. CHEX: 0.2 for a ratio of 0.5, 0.3 for 0.7. 0: none grow back.
        mixed (bool, default False): groups whose channels a layer or group norm reads together are masked, too. Silent
            channels then count in its mean and variance, and the cut changes them.

    Returns:
        `attach`: the hook. It starts from the weights that it finds: fresh ones as in the paper, or trained ones. Its
        `channels` are 0 for silent channels; for the others |gamma|, or the length of the filters over its mean in
        groups without norms.

    Deviations:
        - REPrune names CHEX's regrowth without numbers. A channel grows back as it was when it fell silent: filters,
          scale and shift, running statistics, and what reads it, none of which is trained meanwhile.
        - The last selection regrows none, so that what is frozen has the ratio asked for; d_k is spread over the
          selections that are made, one at least.
        - Representatives are selected among live filters: silent ones are zeros, and one of them could stand for all.
        - A layer with s_l = 1 is skipped, as in the paper: what is live stays, and nothing grows back.
        - Coupled groups are one layer with the mean |gamma| and the filters of all layers that make them. The paper
          keeps residual streams whole. Groups without a trained norm lose `ratio`.
        - What reads a silent channel is zero, too, so that the masked network computes what the cut one will whatever
          the activation makes of 0.

    Raises:
        InvalidOption: an option is out of range.
        UnsupportedModel: no group can be masked.

    Complexity: a selection costs one of `reprune` and a singular value decomposition a layer, O(n_l^2 C kH kW); a step,
        a pass over the weights of groups with silent channels. Memory for a second copy of these weights.

    Example:
        Four selections that let a fifth grow back at first: 0.2 (1 + cos(pi k / 4)) / 2.

        >>> [round(RePruneSchedule(regrow=0.2).regrown(k, 4), 4) for k in (1, 2, 3, 4)]
        [0.1707, 0.1, 0.0293, 0.0]
    """

    summary: ClassVar[str] = "representative filters are selected again and again during training, and some grow back"
    paper: ClassVar[str] = "Park et al., REPrune, AAAI 2024, arXiv:2402.17862"
    use_when: ClassVar[str] = "the network has batch norms, and there is time for a training of many epochs"
    needs: ClassVar[frozenset[str]] = frozenset()

    ratio: float = 0.5
    every: int = 2
    until: float = 0.6
    regrow: float = 0.2
    mixed: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise InvalidOption(OWNER, "ratio", "above 0 and below 1", self.ratio)
        if self.every < 1:
            raise InvalidOption(OWNER, "every", "at least 1", self.every)
        if not 0 < self.until <= 1:
            raise InvalidOption(OWNER, "until", "above 0 and at most 1", self.until)
        if not 0 <= self.regrow < 1:
            raise InvalidOption(OWNER, "regrow", "at least 0 and below 1", self.regrow)

    def selection(self, moment: Moment) -> tuple[int, int] | None:
        """(number, n) of the selection at the end of this epoch, of n in all, from 1; None: there is none."""
        n_epochs = math.ceil(moment.n_steps / moment.n_per_epoch)
        last = max(1, round(self.until * n_epochs))
        every = min(self.every, last)
        number, rest = divmod(moment.epoch + 1, every)
        return (number, last // every) if rest == 0 and number <= last // every else None

    def regrown(self, number: int, n: int) -> float:
        """Share of a layer's channels that selection `number` of `n` lets grow back."""
        return self.regrow * (1 + math.cos(math.pi * number / n)) / 2

    def attach(self, model: nn.Module, groups: Sequence[ChannelGroup], *, seed: int, n_images: int) -> MaskingHook:
        """The hook at work on `model`.

        Args:
            seed: of ties and of what grows back.
            n_images: not looked at.
        """
        usable, left_alone = maskable(groups, self.mixed)
        left_alone |= {group.name: NOT_MADE for group in usable if not _made(model, group)}
        found = [group for group in usable if group.name not in left_alone]
        if not found:
            raise UnsupportedModel(
                f"{OWNER}: at least one group must have channels that weights make and that can be silenced, but none "
                f"has. {' '.join(f'{name}: {reason}' for name, reason in left_alone.items())}".rstrip()
            )
        return _Schedule(self, model, found, left_alone, seed)


class _Schedule(MaskingHook):
    def __init__(
        self,
        options: RePruneSchedule,
        model: nn.Module,
        groups: Sequence[ChannelGroup],
        left_alone: Mapping[str, str],
        seed: int,
    ) -> None:
        super().__init__(options, model, groups, left_alone)
        self.options: RePruneSchedule = options
        self._model, self._seed = model, seed
        self._normed = [group for group in groups if norm_scales(model, group)]

    def end_epoch(self, moment: Moment) -> None:
        selection = self.options.selection(moment)
        if selection is None:
            return
        with evaluating(self._model):
            kept = self._representatives(MethodContext(self._model, seed_of(self._seed, OWNER, moment.epoch)))
        share = self.options.regrown(*selection)
        with self.masks.as_they_were() as model:
            for group in self.groups:
                if group.name in kept:
                    generator = torch.Generator().manual_seed(seed_of(self._seed, OWNER, moment.epoch, group.name))
                    kept[group.name] |= _grown(filters(model, group), kept[group.name], share, generator)
        self.masks.choose(kept)

    def _representatives(self, context: MethodContext) -> dict[str, Tensor]:
        """{group: (n_channels,) bool}: what stays before anything grows back; groups that are skipped are absent."""
        shares = RePrune().ratios(self._normed, context, self.options.ratio)
        skipped = wholly_small(NormScale().scores(self._normed, context), self.options.ratio)
        found = {}
        for group in self.groups:
            if group.name not in skipped:
                live = self.masks.live[group.name].nonzero().flatten().tolist()
                share = shares.get(group.name, self.options.ratio)
                n_keep = min(max(1, round((1 - share) * group.n_channels)), len(live))
                kept = [live[index] for index in RePrune().select(narrowed(group, live), n_keep, context)]
                found[group.name] = torch.zeros(group.n_channels, dtype=torch.bool)
                found[group.name][kept] = True
        return found

    def importance(self) -> Mapping[str, Tensor]:
        scales = NormScale().scores(self._normed, MethodContext(self._model))
        found = {}
        for group in self.groups:
            lengths = channel_norms(filters(self._model, group)).cpu()
            mean = lengths[self.masks.live[group.name]].mean()
            found[group.name] = scales.get(group.name, lengths / mean if mean > 0 else lengths)
        return found


def wholly_small(scales: Mapping[str, Tensor], ratio: float) -> set[str]:
    """Groups all of whose scales are among the smallest share `ratio` of all: `RePrune.ratios` leaves them one channel.

    >>> sorted(wholly_small({"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0, 9.0])}, 0.5))
    ['a']
    """
    pooled = torch.cat([*scales.values(), torch.empty(0)]).sort().values
    n_small = math.ceil(ratio * len(pooled) - 1e-9)
    return {name for name, scale in scales.items() if bool(scale.max() <= pooled[n_small - 1])}


def narrowed(group: ChannelGroup, channels: Sequence[int]) -> ChannelGroup:
    """The group as if it had these channels only, numbered anew in their order."""
    number = {channel: index for index, channel in enumerate(channels)}

    def part(whole: Part) -> Part:
        pairs = [(p, number[c]) for p, c in zip(whole.position, whole.channel, strict=True) if c in number]
        return replace(whole, position=tuple(p for p, _ in pairs), channel=tuple(c for _, c in pairs))

    members = (replace(part(member), axes=tuple(part(axis) for axis in member.axes)) for member in group.members)
    return ChannelGroup(group.name, len(channels), tuple(members))


def distances(rows: Tensor, kept: Tensor) -> Tensor:
    """How far each row (n, features) is from the span of those in `kept` (n,): (n,).

    >>> distances(torch.tensor([[1.0, 0.0], [2.0, 0.0], [5.0, 3.0]]), torch.tensor([True, False, False])).tolist()
    [0.0, 0.0, 3.0]
    """
    _, lengths, directions = torch.linalg.svd(rows[kept], full_matrices=False)
    rank = int((lengths > lengths.max() * max(rows[kept].shape) * torch.finfo(rows.dtype).eps).sum())
    span = directions[:rank]  # (rank, features), orthonormal
    return (rows - rows @ span.T @ span).square().sum(1).sqrt()


def _grown(slices: Sequence[Slice], kept: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Which of the channels that are not kept grow back: (n_channels,) bool."""
    grown = torch.zeros_like(kept)
    others = (~kept).nonzero().flatten()
    n_grown = min(math.ceil(share * len(kept) - 1e-9), len(others))
    if n_grown:
        likely = distances(_rows(slices), kept)[others].softmax(0).clamp_min(torch.finfo(torch.float64).tiny)
        grown[others[likely.multinomial(n_grown, generator=generator)]] = True
    return grown


def _rows(slices: Sequence[Slice]) -> Tensor:
    """All weights that make a channel, side by side: (n_channels, features) double, on the CPU."""
    parts = []
    for each in slices:
        values = each.parameter.detach().double().cpu().movedim(each.axis, 0).flatten(1)  # (size, entries)
        positions: list[list[int]] = [[] for _ in range(each.n_channels)]
        for position, channel in zip(each.position.tolist(), each.channel.tolist(), strict=True):
            positions[channel].append(position)
        part = values.new_zeros(each.n_channels, max(map(len, positions)), values.shape[1])
        for channel, several in enumerate(positions):
            part[channel, : len(several)] = values[several]
        parts.append(part.flatten(1))
    return torch.cat(parts, 1)


def _made(model: nn.Module, group: ChannelGroup) -> bool:
    entries = [each.n_entries().cpu() for each in filters(model, group)]
    return bool(entries) and bool((torch.stack(entries).sum(0) > 0).all())


PLUGIN = RePruneSchedule
