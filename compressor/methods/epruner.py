"""EPruner: keep the filters that affinity propagation elects as exemplars of the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from compressor.core.errors import InvalidOption
from compressor.core.groups import ChannelGroup
from compressor.core.protocols import MethodContext
from compressor.methods._distances import group_squared_distances
from compressor.methods._exemplars import Floats, affinity_exemplars, exactly, greedy_betas
from compressor.methods._seeds import group_generator
from compressor.methods._weights import unmade

SHARED_HALVINGS = 3  # of the interval in which the beta of all groups lies; between the last two is interpolated
OWN_TRIALS = 6  # of betas for the count of a single group
NEAR = 0.01  # of a group's filters: a count this near ends the trials, since a run on thousands of filters is seconds
FAR = 0.1  # of a group's filters: people are told where the count is farther off than this

UNSETTLED = (
    "affinity propagation found no exemplars that it would stay with, even where its messages were damped more; "
    "at those betas the filters that raise its objective most were taken one by one."
)
CLIFF = (
    "no beta that was tried makes about as many exemplars as channels stay, as where filters are equally far apart; "
    "the nearest count was filled up or cut so that every filter stays near to one that is kept."
)
OTHER_COUNT = (
    "the budget keeps another number than beta = {beta:g} does; its exemplars were filled up or cut so that every "
    "filter stays near to one that is kept."
)


@dataclass(frozen=True)
class Exemplars:
    """Filters exchange messages until some of them stand for all others; those stay.

    Paper: Mingbao Lin, Rongrong Ji, Shaojie Li, Yan Wang, Yongjian Wu, Feiyue Huang, Qixiang Ye, "Network Pruning Using
        Adaptive Exemplar Filters", IEEE TNNLS 2022, arXiv:2101.07985, doi:10.1109/TNNLS.2021.3084856; the messages are
        those of Brendan Frey, Delbert Dueck, "Clustering by Passing Messages Between Data Points", Science 2007.

    Equations:
        s(i, j) = -||w_i - w_j||^2; s(k, k) = beta median over i of s(i, k)                   -> `_Channels.exemplars`
        r(i, k) = s(i, k) - max over k' != k of (a(i, k') + s(i, k'))                         -> `affinity_exemplars`
        a(i, k) = min(0, r(k, k) + sum over i' not in {i, k} of max(0, r(i', k)))             -> `affinity_exemplars`
        a(k, k) = sum over i' != k of max(0, r(i', k)); K = {k: r(k, k) + a(k, k) > 0}        -> `affinity_exemplars`

    Notation:
        w_i: filter i, flattened, (C_in * kH * kW,), unit of the weights; K: the exemplars, which stay.
        s: similarity (n, n), and on its diagonal the preference for being an exemplar; the median includes the 0 of a
        filter to itself. All are at most 0, so a larger beta makes fewer exemplars. r, a: the messages, (n, n).

    Options:
        beta (float or None, default None): above 0. None searches for the beta that meets the budget. A number makes
            the paper's widths at that beta (it takes 0.6 to 0.85) the pattern of the layers' widths.
        damping (float, default 0.5): share of the old message that stays, at least 0.5 and below 1.

    Returns:
        `ratios`: the share of each group to remove. `select`: the indices that stay, ascending.

    Deviations:
        - The paper's counts follow from beta alone. Here the budget decides: `ratios` looks for the beta at which the
          exemplars of all groups together are as many as may stay. It tries betas at which about 1/8, 2/8, ... of all
          channels are exemplars, and interpolates between the counts at two of them. With beta given it interpolates
          between all channels, the counts at beta, and one channel each: where the budget removes the overall share
          that beta by itself would remove, each group has the paper's width. That share is noted. The larger betas that
          the authors' code has for late layers are left out.
        - `select` tries up to six betas of the group's own, from one at which greedily as many filters are worth being
          exemplars as may stay (`greedy_betas`), until the count is within 1 % of the filters. Where filters are about
          equally far apart, counts fall off a cliff. The nearest clustering is filled up with the filter that lowers
          the sum of squared distances to the nearest exemplar most, or loses the exemplar that raises it least, one by
          one (`exactly`); a note says so where more than a tenth of the filters change so.
        - Where messages do not come to rest, damping is raised to 0.7 and 0.9; then the filters that raise the net
          similarity most are taken one by one. A note says so.
        - Of exemplars that are copies of each other only the first counts: copies hear the same messages.
        - Coupled groups (the paper keeps streams whole): squared distances are added up over the producers, those of
          each divided by the square of its median distance.
        - Batch norms of pruned layers are cut, where the authors set them back to their initial values: exemplars are
          filters of the network, and their statistics fit. There is no `reset_bn`: a method leaves the model as it
          found it. Train after it, or re-estimate statistics with the recovery `bn_reestimate`.
        - Kept filters keep their weights; random filters or random projections, which the authors also try, are no
          choice of channels.

    Raises:
        InvalidOption: an option, `n_keep` or `pruning_ratio` is out of range.
        UnsupportedModel: a weight is not finite, or no convolution, linear layer or embedding makes some channel.

    Complexity: O(n^2) per round of messages, 16 to 200 rounds, 1 to 6 runs per group, and 3 to 7 more for `ratios`; n^2
        numbers of memory per group. Half a second for 1024 filters per run, 2.5 seconds for 2048.

    Example:
        Six filters of one weight each, in two bunches. To be an exemplar costs half the median of the squared distances
        to it: for the 1 among 0, 1, 1, 36, 49, 64 that is 37 / 4, for the 2 among 0, 1, 4, 25, 36, 49 it is 29 / 4. As
        exemplar of its bunch the 1 is 1 + 1 away from the others and the 2 is 1 + 4: 11.25 in all against 12.25.

        >>> import torch
        >>> from torch import nn
        >>> from compressor.core.groups import GroupMember, Role, TensorAxis
        >>> model = nn.Sequential(nn.Linear(1, 6))
        >>> _ = model[0].weight.data.copy_(torch.tensor([[0.0], [1.0], [2.0], [9.0], [7.0], [8.0]]))
        >>> every = tuple(range(6))
        >>> member = GroupMember("0", "Linear", Role.PRODUCER, every, every, (TensorAxis("0.weight", 0, every, every),))
        >>> group = ChannelGroup("0", 6, (member,))
        >>> Exemplars(beta=0.5).select(group, 2, MethodContext(model))  # 1 and 8
        [1, 5]
    """

    summary: ClassVar[str] = "filters that affinity propagation elects as exemplars of the others"
    paper: ClassVar[str] = "Lin et al., EPruner, IEEE TNNLS 2022, arXiv:2101.07985"
    use_when: ClassVar[str] = "filters that are alike should decide how wide layers become, and training follows"
    needs: ClassVar[frozenset[str]] = frozenset()

    beta: float | None = None
    damping: float = 0.5

    def __post_init__(self) -> None:
        if self.beta is not None and not 0 < self.beta < float("inf"):
            raise InvalidOption("epruner", "beta", "above 0, or None to search for it", self.beta)
        if not 0.5 <= self.damping < 1:
            raise InvalidOption("epruner", "damping", "at least 0.5 and below 1", self.damping)

    def ratios(
        self, groups: Sequence[ChannelGroup], context: MethodContext, pruning_ratio: float
    ) -> Mapping[str, float]:
        """{group name: share to remove}, at most (n_channels - 1) / n_channels."""
        if not 0 <= pruning_ratio < 1:
            raise InvalidOption("epruner", "pruning_ratio", "at least 0 and below 1", pruning_ratio)
        sizes = np.array([group.n_channels for group in groups], dtype=np.float64)
        n_keep = max((1 - pruning_ratio) * sizes.sum(), float(len(groups)))
        more, fewer = sizes, np.ones_like(sizes)  # counts at both ends of the interval
        low, high = 0.0, 1.0
        decided = n_keep in (sizes.sum(), len(groups))
        for _ in range(0 if decided else SHARED_HALVINGS if self.beta is None else 1):
            middle = (low + high) / 2
            beta = self._shared_beta(groups, context, middle) if self.beta is None else self.beta
            counts = np.array([len(self._channels(g, context).exemplars(beta)) for g in groups], dtype=np.float64)
            if counts.sum() > n_keep:
                more, high = counts, middle
            else:
                fewer, low = counts, middle
            if self.beta is not None:
                share = 1 - counts.sum() / sizes.sum()
                context.note("all groups", f"beta = {beta:g} by itself would remove {share:.1%} of the channels.")
        kept = more + (fewer - more) * (more.sum() - n_keep) / max(more.sum() - fewer.sum(), 1.0)
        return {group.name: float(1 - n / size) for group, n, size in zip(groups, kept, sizes, strict=True)}

    def select(self, group: ChannelGroup, n_keep: int, context: MethodContext) -> Sequence[int]:
        """The `n_keep` channels of `group` that stay, ascending."""
        n = group.n_channels
        if not 1 <= n_keep <= n:
            raise InvalidOption("epruner", "n_keep", f"from 1 to {n}, the channels of {group.name}", n_keep)
        channels = self._channels(group, context)
        nearest = channels.nearest(n_keep) if self.beta is None else channels.exemplars(self.beta)
        if abs(len(nearest) - n_keep) > FAR * n:
            context.note(group.name, CLIFF if self.beta is None else OTHER_COUNT.format(beta=self.beta))
        del context.memory[self, group.name]  # a group is chosen once, and its distances can be large
        return exactly(channels.distances(), nearest, n_keep)

    def _shared_beta(self, groups: Sequence[ChannelGroup], context: MethodContext, kept: float) -> float:
        """The beta at which, counted greedily, about this share of all channels are exemplars."""
        betas = np.concatenate([self._channels(group, context).betas[1:] for group in groups])
        return float(np.quantile(betas, 1 - kept))

    def _channels(self, group: ChannelGroup, context: MethodContext) -> _Channels:
        if (self, group.name) not in context.memory:
            squares = group_squared_distances(context.model, group)
            if squares is None:
                raise unmade("epruner", group)
            seed = int(group_generator(context.seed, group.name).integers(2**32))
            unsettled = partial(context.note, group.name, UNSETTLED)
            context.memory[self, group.name] = _Channels(squares.float().numpy(), self.damping, seed, unsettled)
        found: _Channels = context.memory[self, group.name]
        return found


@dataclass(frozen=True)
class _Channels:
    """A group's channels as points, and their exemplars at every beta that was tried."""

    squares: NDArray[np.float32]  # (n, n) squared distances; in single precision, since many groups wait at once
    damping: float
    seed: int
    unsettled: Callable[[], None]
    tried: dict[float, list[int]] = field(default_factory=dict)

    def distances(self) -> Floats:
        """The squared distances, in the precision that is computed with."""
        return self.squares.astype(np.float64)

    @cached_property
    def betas(self) -> Floats:
        """Entry k: where to look for k exemplars."""
        return greedy_betas(self.distances())

    def exemplars(self, beta: float) -> list[int]:
        """The filters that affinity propagation elects, ascending."""
        if beta not in self.tried:
            found, settled = affinity_exemplars(self.distances(), beta, self.damping, self.seed)
            if not settled:
                self.unsettled()
            self.tried[beta] = found
        return self.tried[beta]

    def nearest(self, n: int) -> list[int]:
        """The exemplars at that of a few betas where there are most nearly `n` of them."""
        low, guess, high = 0, n, len(self.squares) + 1  # how many to ask for, since the greedy counts are not its own
        best: list[int] = []
        for _ in range(OWN_TRIALS):
            found = self.exemplars(float(self.betas[guess]))
            best = min(best, found, key=lambda exemplars: abs(len(exemplars) - n))
            if abs(len(best) - n) <= NEAR * len(self.squares):
                break
            low, high = (guess, high) if len(found) < n else (low, guess)
            if high - low < 2:
                break
            aim = guess + n - len(found)
            guess = aim if low < aim < high else (low + high) // 2
        return best


PLUGIN = Exemplars
