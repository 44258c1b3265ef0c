"""Layer-adaptive magnitude: norms that can be compared between layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from compressor.core.groups import ChannelGroup
from compressor.core.protocols import MethodContext
from compressor.methods._weights import filter_scores, score_groups


def squared_norms(rows: Tensor) -> Tensor:
    """Sum of squared weights of each row: (n, features) -> (n,)."""
    return rows.square().sum(1)


def share_of_survivors(squares: Tensor) -> Tensor:
    """Each value divided by the sum of itself and all values sorted after it: (n,) -> (n,). Zeros get zero."""
    ascending, order = squares.sort(stable=True)  # (n,), (n,)
    survivors = ascending.flip(0).cumsum(0).flip(0)  # (n,): what is left when everything before has gone
    scores = torch.zeros_like(squares)
    scores[order] = torch.where(survivors > 0, ascending / survivors, 0)
    return scores


@dataclass(frozen=True)
class LayerAdaptiveMagnitude:
    """A filter's squared norm as a share of what would be left in its layer when it is the next to leave.

    Paper: Jaeho Lee, Sejun Park, Sangwoo Mo, Sungsoo Ahn, Jinwoo Shin, "Layer-adaptive Sparsity for the Magnitude-based
        Pruning", ICLR 2021, arXiv:2010.07611, section 2 (LAMP score); for whole channels as in Gongfan Fang, Xinyin Ma,
        Mingli Song, Michael Bi Mi, Xinchao Wang, "DepGraph: Towards Any Structural Pruning", CVPR 2023,
        arXiv:2301.12900.

    Equations:
        score(u) = W[u]^2 / sum over v >= u of W[v]^2, indices sorted so that W[u]^2 ascends  -> `share_of_survivors`
        W[u]^2 -> ||w_i||^2 for a filter i                                                    -> `squared_norms`

    Notation:
        w_i: filter i, flattened, (C_in * kH * kW,), unit of the weights.
        score: in [0, 1], no unit; over all layers at once, the smallest leave.

    Options: none.

    Returns:
        One score per channel of every group whose channels all come from a convolution, linear layer or embedding. The
        largest is 1 in every group that is not all zeros, so a global threshold below 1 empties no group.

    Deviations:
        - Filters instead of single weights: squared norms take the place of squared weights.
        - Equal norms are sorted by channel index; the paper leaves the order open. A filter of zeros scores 0.
        - Squared norms of a coupled group's producers are divided by their mean and averaged first (`filter_scores`).

    Raises:
        UnsupportedModel: a weight is infinite or not a number.

    Complexity: O(weights + n log n) for n channels.

    Example:
        Squared norms 1, 4 and 3: 1 / (1 + 3 + 4), 4 / 4, 3 / (3 + 4).

        >>> [round(score, 4) for score in share_of_survivors(torch.tensor([1.0, 4.0, 3.0])).tolist()]
        [0.125, 1.0, 0.4286]
    """

    summary: ClassVar[str] = "squared filter norm as a share of what is left in its layer; made for global pruning"
    paper: ClassVar[str] = "Lee et al., Layer-adaptive Sparsity, ICLR 2021, arXiv:2010.07611"
    use_when: ClassVar[str] = "there is no data, and layers should compete for channels (--allocation global)"
    needs: ClassVar[frozenset[str]] = frozenset()
    comparable: ClassVar[bool] = True

    def scores(self, groups: Sequence[ChannelGroup], context: MethodContext) -> Mapping[str, Tensor]:
        """{group name: LAMP scores (n_channels,)}."""

        def score(group: ChannelGroup) -> Tensor | None:
            squares = filter_scores(context.model, group, squared_norms)
            return None if squares is None else share_of_survivors(squares)

        return score_groups(groups, score)


PLUGIN = LayerAdaptiveMagnitude
