"""Distance to the geometric median of a layer's filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from compressor.core.errors import InvalidOption
from compressor.core.groups import ChannelGroup
from compressor.core.protocols import MethodContext
from compressor.methods._distances import squared_distances
from compressor.methods._weights import filter_scores, score_groups


def distance_sums(rows: Tensor) -> Tensor:
    """Sum of the Euclidean distances from each row to all others: (n, features) -> (n,)."""
    return squared_distances(rows).sqrt_().sum(1)


def unit_rows(rows: Tensor) -> Tensor:
    """Each row divided by its length; zero rows stay zero."""
    return torch.nn.functional.normalize(rows.double(), dim=1, eps=1e-12)


@dataclass(frozen=True)
class GeometricMedian:
    """Filters near the geometric median of their layer can be replaced by the others, so they leave first.

    Paper: Yang He, Ping Liu, Ziwei Wang, Zhilan Hu, Yi Yang, "Filter Pruning via Geometric Median for Deep
        Convolutional Neural Networks Acceleration", CVPR 2019, arXiv:1811.00250,
        section 3 (filter pruning via geometric median).

    Equations:
        g(x) = sum over j of ||x - F_j||_2, searched among the layer's own filters x = F_i   -> `distance_sums`

    Notation:
        F_j: filter j, flattened, (C_in * kH * kW,), unit of the weights.
        g(F_i): score of filter i, same unit; the smallest leave.

    Options:
        distance (str, default "euclidean"): "euclidean", or "cosine", which compares the filters' directions only
            (Euclidean distance of the filters scaled to length 1; no unit).

    Returns:
        One score >= 0 per channel of every group whose channels all come from a convolution, linear layer or embedding.

    Deviations:
        - The authors' experiments may remove a share of the filters by norm first; here the distance decides alone.
        - The authors apply it after every epoch to filters that may grow again; this is the selection, once.
        - A filter of zeros is not special: where most filters are alike and it is not, it stays.
        - Producers of a coupled group are joined as under `l1`: divided by their mean, averaged (`filter_scores`).

    Raises:
        InvalidOption: `distance` is neither of the two.
        UnsupportedModel: a weight is infinite or not a number.

    Complexity: O(n^2 * features) time and O(n^2) memory for a layer with n filters.

    Example:
        Three filters with one weight each, at 0, 1 and 3: (1 + 3), (1 + 2), (3 + 2). The middle one leaves first.

        >>> [round(score, 9) for score in distance_sums(torch.tensor([[0.0], [1.0], [3.0]])).tolist()]
        [4.0, 3.0, 5.0]
    """

    summary: ClassVar[str] = "distance to the other filters; those nearest to the geometric median leave"
    paper: ClassVar[str] = "He et al., Filter Pruning via Geometric Median, CVPR 2019, arXiv:1811.00250"
    use_when: ClassVar[str] = "there is no data, and filters differ more in direction than in length"
    needs: ClassVar[frozenset[str]] = frozenset()
    comparable: ClassVar[bool] = False

    distance: str = "euclidean"

    def __post_init__(self) -> None:
        if self.distance not in ("euclidean", "cosine"):
            raise InvalidOption("fpgm", "distance", "'euclidean' or 'cosine'", self.distance)

    def scores(self, groups: Sequence[ChannelGroup], context: MethodContext) -> Mapping[str, Tensor]:
        """{group name: sums of distances (n_channels,)}."""
        return score_groups(groups, lambda group: filter_scores(context.model, group, self._sums))

    def _sums(self, rows: Tensor) -> Tensor:
        return distance_sums(unit_rows(rows) if self.distance == "cosine" else rows)


PLUGIN = GeometricMedian
