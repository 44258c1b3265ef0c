"""REPrune: keep the filters that together hold a representative of every cluster of kernels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from compressor.core.errors import InvalidOption
from compressor.core.groups import ChannelGroup
from compressor.core.protocols import MethodContext
from compressor.methods._coverage import Integers, greedy_cover
from compressor.methods._seeds import group_generator
from compressor.methods._ward import shared_height_labels
from compressor.methods._weights import Filters, filter_scores, norm_scales, producer_filters, unmade


@dataclass(frozen=True)
class RePrune:
    """Kernels of one input channel that are alike form a cluster; the kept filters must cover the most clusters.

    Paper: Mincheol Park, Dongjin Kim, Cheonjun Park, Yuna Park, Gyeong Eun Gong, Won Woo Ro, Suhyun Kim, "REPrune:
        Channel Pruning via Kernel Representative Selection", AAAI 2024, arXiv:2402.17862,
        doi:10.1609/aaai.v38i13.29370.

    Equations:
        I(A, B) = |A||B| / (|A| + |B|) * ||mean_A - mean_B||^2 (Ward's merge cost)        -> `shared_height_labels`
        h = max over j of d_j(m), m = ceil(s n); A_j: merge while the next cost is <= h   -> `shared_height_labels`
        max over |K| = q of the clusters in the union of all A_j that a filter of K is in -> `greedy_cover`
        s_l = #{i: |gamma_i| <= gamma*} / n_l, gamma* = s-quantile of all |gamma|         -> `RePrune.ratios`

    Notation:
        n, q: filters of the layer, and how many of them stay; s = 1 - q / n; K: the kept filters.
        kappa_{i,j}: kernel of filter i for input channel j, (kH * kW,), unit of the weights.
        d_j(t): cost of the t-th merge of the n kernels of input channel j, squared unit of the weights.
        A_j: clusters of input channel j; h: the height at which all trees of the layer are cut.
        gamma_i: batch-norm scale of channel i, no unit.

    Options: none; the run's seed draws among filters that cover equally many clusters.

    Returns:
        `ratios`: the share of each group to remove. `select`: the indices that stay, ascending.

    Deviations:
        - Selection only: the paper prunes and regrows while it trains from scratch.
        - Coupled groups: every producer has its own clusters and its own h, and a channel covers its cluster in each of
          them. The paper prunes inner layers only. Each position of a channel (tied blocks) counts as a producer.
        - m = 0 leaves every kernel to itself. When every cluster is covered, long filters (L2 norm, `filter_scores`)
          fill up; the paper leaves the rule open.
        - |gamma| is used for gamma, averaged where several norms see a channel; groups without a norm take the overall
          ratio; at least one channel of each group stays (the paper skips a layer with s_l = 1).

    Raises:
        InvalidOption: `n_keep` or `pruning_ratio` is out of range.
        UnsupportedModel: a weight is not finite, or no convolution, linear layer or embedding makes some channel.

    Complexity: O(n^2) per input channel for kernels, O(n log n) for scalars (1x1 and linear layers), on usual weights;
        the cover is linear in the number of kernels.

    Example:
        Four filters of one weight each; 0 and 0 are one cluster, 5 and 6 the other. One of each pair stays:

        >>> from torch import nn
        >>> from compressor.core.groups import GroupMember, Role, TensorAxis
        >>> model = nn.Sequential(nn.Linear(1, 4))
        >>> _ = model[0].weight.data.copy_(torch.tensor([[0.0], [5.0], [0.0], [6.0]]))
        >>> every = (0, 1, 2, 3)
        >>> member = GroupMember("0", "Linear", Role.PRODUCER, every, every, (TensorAxis("0.weight", 0, every, every),))
        >>> kept = RePrune().select(ChannelGroup("0", 4, (member,)), 2, MethodContext(model))
        >>> sorted(int(model[0].weight[i] > 2) for i in kept)
        [0, 1]
    """

    summary: ClassVar[str] = "filters that represent the clusters of alike kernels"
    paper: ClassVar[str] = "Park et al., REPrune, AAAI 2024, arXiv:2402.17862"
    use_when: ClassVar[str] = "there is no data, and many kernels are alike"
    needs: ClassVar[frozenset[str]] = frozenset()

    def ratios(
        self, groups: Sequence[ChannelGroup], context: MethodContext, pruning_ratio: float
    ) -> Mapping[str, float]:
        """{group name: share to remove}, at most (n_channels - 1) / n_channels."""
        if not 0 <= pruning_ratio < 1:
            raise InvalidOption("reprune", "pruning_ratio", "at least 0 and below 1", pruning_ratio)
        scales = {group.name: norm_scales(context.model, group) for group in groups}
        pooled = torch.cat([s for s in scales.values() if s is not None] or [torch.empty(0)]).sort().values
        n_below = math.ceil(pruning_ratio * len(pooled) - 1e-9)  # 1e-9: 0.55 * 100 is 55.000000000000007
        threshold = pooled[n_below - 1].item() if n_below else -1.0
        found = {}
        for group in groups:
            scale = scales[group.name]
            share = pruning_ratio if scale is None else int((scale <= threshold).sum()) / group.n_channels
            found[group.name] = min(share, (group.n_channels - 1) / group.n_channels)
        return found

    def select(self, group: ChannelGroup, n_keep: int, context: MethodContext) -> Sequence[int]:
        """The `n_keep` channels of `group` that stay, ascending."""
        n = group.n_channels
        if not 1 <= n_keep <= n:
            raise InvalidOption("reprune", "n_keep", f"from 1 to {n}, the channels of {group.name}", n_keep)
        norms = filter_scores(context.model, group, lambda rows: rows.square().sum(1).sqrt())
        if norms is None:
            raise unmade("reprune", group)
        if n_keep == n:
            return list(range(n))
        clusters = [_clusters(filters, n, n_keep) for filters in producer_filters(context.model, group)]
        generator = group_generator(context.seed, group.name)
        return sorted(greedy_cover(clusters, n, n_keep, generator, norms.numpy()))


def _clusters(filters: Filters, n_channels: int, n_keep: int) -> tuple[Integers, Integers]:
    """The channels that one producer makes (n_made,), and their cluster for every input channel (n_made, n_inputs)."""
    n_made, n_positions, n_inputs = filters.values.shape[:3]
    kernels = filters.values.reshape(n_made, n_positions * n_inputs, -1)  # (n_made, n_positions * C_in, kH * kW)
    n_merges = -(-n_made * (n_channels - n_keep) // n_channels)  # ceil(s * n_made)
    return filters.channels.int().numpy(), shared_height_labels(kernels.numpy(), min(n_merges, n_made - 1))


PLUGIN = RePrune
