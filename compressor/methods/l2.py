"""L2 norm of the filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from compressor.core.groups import ChannelGroup
from compressor.core.protocols import MethodContext
from compressor.methods._weights import filter_scores, score_groups


def l2_norms(rows: Tensor) -> Tensor:
    """Euclidean length of each row: (n, features) -> (n,)."""
    return rows.square().sum(1).sqrt()


@dataclass(frozen=True)
class L2Norm:
    """Short filters leave first; one large weight counts for more than under L1.

    Paper: Yang He, Guoliang Kang, Xuanyi Dong, Yanwei Fu, Yi Yang, "Soft Filter Pruning for Accelerating Deep
        Convolutional Neural Networks", IJCAI 2018, arXiv:1808.06866, section on filter selection, with p = 2.

    Equations:
        ||F_i||_2 = (sum over the filter's weights w of |w|^2)^(1/2)   -> `l2_norms`

    Notation:
        F_i: filter i, (C_in, kH, kW), unit of the weights; the filters with the smallest norm leave.

    Options: none.

    Returns:
        One score >= 0 per channel of every group whose channels all come from a convolution, linear layer or embedding.

    Deviations:
        - The paper zeroes the chosen filters after every epoch and lets them grow again; this is its selection, once.
        - Producers of a coupled group are joined as under `l1`: divided by their mean, averaged (`filter_scores`).

    Raises:
        UnsupportedModel: a weight is infinite or not a number.

    Complexity: O(weights).

    Example:
        Two filters with two weights each, sqrt(9 + 16) and sqrt(1 + 0):

        >>> import torch
        >>> l2_norms(torch.tensor([[3.0, -4.0], [1.0, 0.0]])).tolist()
        [5.0, 1.0]
    """

    summary: ClassVar[str] = "Euclidean length of a filter"
    paper: ClassVar[str] = "He et al., Soft Filter Pruning, IJCAI 2018, arXiv:1808.06866"
    use_when: ClassVar[str] = "there is no data, and few large weights should count more than many small ones"
    needs: ClassVar[frozenset[str]] = frozenset()
    comparable: ClassVar[bool] = False

    def scores(self, groups: Sequence[ChannelGroup], context: MethodContext) -> Mapping[str, Tensor]:
        """{group name: L2 norms (n_channels,)}."""
        return score_groups(groups, lambda group: filter_scores(context.model, group, l2_norms))


PLUGIN = L2Norm
