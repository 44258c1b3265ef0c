"""Gradual pruning: more and more channels fall silent while the network is trained, by any criterion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compressor.core.errors import InvalidOption, UnsupportedModel
from compressor.core.groups import ChannelGroup
from compressor.core.plugin_options import plugin_options
from compressor.core.plugins import PluginFolder
from compressor.core.protocols import MethodContext
from compressor.planning.allocate import scaled
from compressor.planning.planner import ALLOCATIONS
from compressor.training.hooks import Moment
from compressor.training.regularizers._channels import channel_norms, filters
from compressor.training.regularizers._masks import MaskingHook, evaluating, maskable

OWNER = "progressive"
METHODS = PluginFolder("compressor.methods", "pruning method")


@dataclass(frozen=True)
class Progressive:
    """The share of silent channels rises along a cubic curve: fast while there is much to spare, then ever slower.

    Paper: Michael Zhu, Suyog Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model
        compression", 2017, arXiv:1710.01878, section 3 (automated gradual pruning).

    Equations:
        s_t = s_f + (s_i - s_f) (1 - (t - t_0) / (n D))^3, t in {t_0, t_0 + D, ..., t_0 + n D}    -> `ratio_at`, `due`

    Notation:
        s_t: share of the channels that is silent from step t on; s_i: `initial_ratio`; s_f: `ratio`.
        t_0, t_0 + n D: the first and the last selection; D: steps between two; n: their number, at least 1.

    Options:
        method (str, default "l1"): a pruning method that goes by the weights alone.
        method_options (tuple of str, default ()): its own options, each NAME=VALUE.
        ratio (float, default 0.5): above 0, below 1.
        initial_ratio (float, default 0.0): 0 to `ratio`.
        begin (float, default 0.1): share of the run's steps before the first selection, at least 0.
        end (float, default 0.6): share of the run's steps up to the last one, above `begin` up to 1; the masks are
            frozen from there on.
        every (float, default 0.5): epochs between two selections, above 0; at least a step.
        allocation (str, default "local"): "local": each group loses the same share; "global": the channels of all
            groups are ranked together, or a method that selects says itself what each group loses.
        mixed (bool, default False): groups whose channels a layer or group norm reads together are masked, too. Silent
            channels then count in its mean and variance, and the cut changes them.

    Returns:
        `attach`: the hook. Its `channels` are 0 for silent channels; for the others, the method's scores, over their
        group's mean where scores of different groups do not compare, or the length of the filters over its mean where
        the method has no scores.

    Deviations:
        - Channels of all coupled layers together in place of single weights; any method in place of magnitude.
        - Channels can return. As in the paper, what is masked is not trained but keeps its values, and every selection
          ranks it by them, along with all others: a channel returns, as it was when it fell silent, if the others have
          become weaker than that. Its filters are judged by what they would read in the network that is left.
        - What reads a silent channel is zero, too, so that the masked network computes what the cut one will whatever
          the activation makes of 0. Both the filters and what reads them are remembered, and running statistics.
        - At least one channel of each group stays. A selection is made after a step at the earliest, and the last one
          reaches `ratio`, also where the run is too short for two.

    Raises:
        InvalidOption: an option is out of range, or the method needs data.
        UnknownPlugin: there is no such method.
        UnsupportedModel: no group can be masked, or the method can judge none.

    Complexity: a selection costs what the method does; a step, a pass over the weights of groups with silent channels.
        Memory for a second copy of these weights.

    Example:
        To 0.8 in four steps: 0.8 - 0.8 (1 - k / 4)^3.

        >>> [round(Progressive(ratio=0.8).ratio_at(k / 4), 4) for k in range(5)]
        [0.0, 0.4625, 0.7, 0.7875, 0.8]
    """

    summary: ClassVar[str] = "ever more channels are silenced during training, chosen by any criterion (AGP)"
    paper: ClassVar[str] = "Zhu, Gupta, To prune, or not to prune, 2017, arXiv:1710.01878"
    use_when: ClassVar[str] = "a criterion is to choose, and the network shall get used to the cut step by step"
    needs: ClassVar[frozenset[str]] = frozenset()

    method: str = "l1"
    method_options: tuple[str, ...] = ()
    ratio: float = 0.5
    initial_ratio: float = 0.0
    begin: float = 0.1
    end: float = 0.6
    every: float = 0.5
    allocation: str = "local"
    mixed: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise InvalidOption(OWNER, "ratio", "above 0 and below 1", self.ratio)
        if not 0 <= self.initial_ratio <= self.ratio:
            raise InvalidOption(OWNER, "initial_ratio", f"from 0 to {self.ratio}, the ratio", self.initial_ratio)
        if not 0 < self.end <= 1:
            raise InvalidOption(OWNER, "end", "above 0 and at most 1", self.end)
        if not 0 <= self.begin < self.end:
            raise InvalidOption(OWNER, "begin", f"at least 0 and below {self.end}, the end", self.begin)
        if not 0 < self.every < math.inf:
            raise InvalidOption(OWNER, "every", "a finite number above 0", self.every)
        if self.allocation not in ALLOCATIONS:
            raise InvalidOption(OWNER, "allocation", " or ".join(ALLOCATIONS), self.allocation)
        self.chosen()

    def chosen(self) -> Any:
        """The pruning method with its options.

        Raises:
            UnknownPlugin, InvalidOption: there is none of this name or with these options, or it needs data.
        """
        kind = METHODS.load(self.method)
        if kind.needs & {"data", "labels"}:
            step = "Choose l1 or bn_scale, for example."
            raise InvalidOption(OWNER, "method", "one that goes by the weights alone", self.method, step)
        return kind(**plugin_options(kind, OWNER, "method_options", self.method_options))

    def ratio_at(self, position: float) -> float:
        """The silent share at a position on the ramp, from 0 to 1."""
        return self.ratio + (self.initial_ratio - self.ratio) * (1 - position) ** 3

    def due(self, moment: Moment) -> float | None:
        """The position on the ramp of the selection that follows this step; None: there is none."""
        last = max(1, round(self.end * moment.n_steps))
        first = max(1, round(self.begin * moment.n_steps))
        done = moment.step + 1
        if first >= last:
            return 1.0 if done == last else None
        between = min(last - first, max(1, round(self.every * moment.n_per_epoch)))
        number, rest = divmod(done - first, between)
        n = (last - first) // between
        return number / n if rest == 0 and 0 <= number <= n else None

    def attach(self, model: nn.Module, groups: Sequence[ChannelGroup], *, seed: int, n_images: int) -> MaskingHook:
        """The hook at work on `model`; what the method refuses is refused now.

        Args:
            seed: of methods that draw; the same at each selection.
            n_images: not looked at.
        """
        usable, left_alone = maskable(groups, self.mixed)
        if not usable:
            raise UnsupportedModel(
                f"{OWNER}: at least one group must have channels that can be silenced, but none has. "
                f"{' '.join(f'{name}: {reason}' for name, reason in left_alone.items())}".rstrip()
            )
        method, context = self.chosen(), MethodContext(model, seed=seed)
        with evaluating(model):
            scores = _scores(method, usable, context)
        left_alone |= {
            group.name: f"the method {self.method} cannot judge it." for group in usable if group.name not in scores
        }
        judged = [group for group in usable if group.name in scores]
        if not judged:
            raise UnsupportedModel(
                f"{OWNER}: the method {self.method} must be able to judge a group, but can judge none of "
                f"{', '.join(left_alone)} (it goes by: {method.summary}). Choose another with `method`."
            )
        hook = _Ramp(self, method, model, judged, left_alone, seed)
        with evaluating(model):
            hook.kept(self.ratio, context)
        return hook


class _Ramp(MaskingHook):
    def __init__(
        self,
        options: Progressive,
        method: Any,
        model: nn.Module,
        groups: Sequence[ChannelGroup],
        left_alone: Mapping[str, str],
        seed: int,
    ) -> None:
        super().__init__(options, model, groups, left_alone)
        self.options: Progressive = options
        self._method, self._seed = method, seed

    def after_step(self, moment: Moment) -> None:
        super().after_step(moment)
        position = self.options.due(moment)
        if position is not None:
            with self.masks.as_they_were() as model:
                live = self.kept(self.options.ratio_at(position), MethodContext(model, seed=self._seed))
            self.masks.choose(live)

    def kept(self, ratio: float, context: MethodContext) -> dict[str, Tensor]:
        """{group: (n_channels,) bool}: what stays when this share of the channels is silent."""
        everywhere = self.options.allocation == "global"
        if hasattr(self._method, "select"):
            shares = self._method.ratios(self.groups, context, ratio) if everywhere else {}
            return {g.name: _selected(self._method, g, shares.get(g.name, ratio), context) for g in self.groups}
        scores = _scores(self._method, self.groups, context)
        comparable = [scaled(score, self._method.comparable) for score in scores.values()]
        pools = [comparable] if everywhere else [[score] for score in comparable]
        live = [mask for pool in pools for mask in strongest(pool, ratio)]
        return dict(zip(scores, live, strict=True))

    def importance(self) -> Mapping[str, Tensor]:
        with self.masks.as_they_were() as model:
            worth = _scores(self._method, self.groups, MethodContext(model, seed=self._seed))
        comparable = getattr(self._method, "comparable", False)
        found = {}
        for name, score in worth.items():
            live = self.masks.live[name]
            found[name] = torch.zeros_like(score).masked_scatter(live, scaled(score[live], comparable))
        return found


def strongest(scores: Sequence[Tensor], ratio: float) -> list[Tensor]:
    """Masks (n_channels,) of what stays of these groups when this share of all their channels leaves.

    The best channel of each group stays.

    >>> [mask.tolist() for mask in strongest([torch.tensor([4.0, 3.0]), torch.tensor([1.0, 2.0])], 0.75)]
    [[True, False], [False, True]]
    """
    pooled = torch.cat([score.double().index_fill(0, score.argmax(), math.inf) for score in scores])
    n_silent = min(round(ratio * len(pooled)), len(pooled) - len(scores))
    live = torch.ones(len(pooled), dtype=torch.bool)
    live[pooled.argsort(stable=True)[:n_silent]] = False
    return list(live.split([len(score) for score in scores]))


def _scores(method: Any, groups: Sequence[ChannelGroup], context: MethodContext) -> dict[str, Tensor]:
    """{group: (n_channels,)} in the order of the groups; the length of the filters if the method has no scores."""
    if not hasattr(method, "select"):
        found = method.scores(groups, context)
        return {group.name: found[group.name] for group in groups if group.name in found}
    made = {group.name: filters(context.model, group) for group in groups}
    return {name: channel_norms(slices).float().cpu() for name, slices in made.items() if slices}


def _selected(method: Any, group: ChannelGroup, ratio: float, context: MethodContext) -> Tensor:
    n_keep = group.n_channels - min(round(ratio * group.n_channels), group.n_channels - 1)
    live = torch.zeros(group.n_channels, dtype=torch.bool)
    live[list(method.select(group, n_keep, context))] = True
    return live


PLUGIN = Progressive
