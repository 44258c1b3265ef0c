"""L1 norm of the filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from compressor.core.groups import ChannelGroup
from compressor.core.protocols import MethodContext
from compressor.methods._weights import filter_scores, score_groups


def l1_norms(rows: Tensor) -> Tensor:
    """Sum of absolute weights of each row: (n, features) -> (n,)."""
    return rows.abs().sum(1)


@dataclass(frozen=True)
class L1Norm:
    """Filters with a small sum of absolute weights make weak feature maps, so they leave first.

    Paper: Hao Li, Asim Kadav, Igor Durdanovic, Hanan Samet, Hans Peter Graf, "Pruning Filters for Efficient ConvNets",
        ICLR 2017, arXiv:1608.08710, section 3.1 (pruning filters within a layer).

    Equations:
        s_i = sum over input channels l of sum |K_{i,l}|   -> `l1_norms`

    Notation:
        K_{i,l}: kernel of filter i for input channel l, (kH, kW), unit of the weights.
        s_i: score of filter i, same unit; the smallest leave.

    Options: none.

    Returns:
        One score >= 0 per channel of every group whose channels all come from a convolution, linear layer or embedding.

    Deviations:
        - A coupled group (residual stream) has several producers. The paper takes the filters of the projection
          shortcut alone; here each producer's norms are divided by their mean and averaged (`filter_scores`), so that
          no layer decides alone.
        - The paper picks each layer's width by hand after a sensitivity study; here the budget does.

    Raises:
        UnsupportedModel: a weight is infinite or not a number.

    Complexity: O(weights).

    Example:
        Two filters with two weights each, |3| + |-1| and |1| + |1|:

        >>> import torch
        >>> l1_norms(torch.tensor([[3.0, -1.0], [1.0, 1.0]])).tolist()
        [4.0, 2.0]
    """

    summary: ClassVar[str] = "sum of a filter's absolute weights"
    paper: ClassVar[str] = "Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017, arXiv:1608.08710"
    use_when: ClassVar[str] = "there is no data: it is the default, and takes less than a second"
    needs: ClassVar[frozenset[str]] = frozenset()
    comparable: ClassVar[bool] = False

    def scores(self, groups: Sequence[ChannelGroup], context: MethodContext) -> Mapping[str, Tensor]:
        """{group name: L1 norms (n_channels,)}."""
        return score_groups(groups, lambda group: filter_scores(context.model, group, l1_norms))


PLUGIN = L1Norm
