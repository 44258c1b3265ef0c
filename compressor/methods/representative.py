"""One filter of every cluster of filters that are alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.spatial.distance import squareform
from torch import Tensor

from compressor.core.errors import InvalidOption
from compressor.core.groups import ChannelGroup
from compressor.core.protocols import MethodContext
from compressor.methods._distances import squared_distances
from compressor.methods._ratios import equal_ratios
from compressor.methods._seeds import group_generator
from compressor.methods._weights import channel_features, unmade

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Representative:
    """As many clusters of filters as channels stay; each elects one member, and the others leave.

    Paper: Mincheol Park, Woojeong Kim, Suhyun Kim, "REPrune: Filter Pruning via Representative Election", 2020,
        arXiv:2007.06932. Only its abstract could be read: this is in its spirit, and no reproduction.

    Equations:
        I(A, B) = |A||B| / (|A| + |B|) * ||mean_A - mean_B||^2, merged while more than q clusters  -> `ward`
        argmin over i in A of sum over j in A of ||F_i - F_j||_2 ("medoid")                       -> `elect`
        argmax over i in A of ||F_i||_2 ("max_norm")                                              -> `elect`

    Notation:
        F_i: filter i, flattened, (C_in * kH * kW,), unit of the weights; A, B: clusters of filters.
        mean_A: the mean of A's filters, (C_in * kH * kW,); q: channels that stay.

    Options:
        cluster (str, default "ward"): "ward" (a tree of merges), or "kmeans" (Lloyd's algorithm, best of four starts
            that the run's seed draws).
        elect (str, default "medoid"): "medoid", the member with the smallest distances to the others, or "max_norm".

    Returns:
        `select`: the indices that stay, ascending, one of each cluster. `ratios`: the same share of every group.

    Deviations:
        - The abstract says that filters are clustered and that each cluster keeps one; which clustering and which
          election is ours, and are options. Of equally near members (any two that are a cluster) the longer is elected.
        - Producers of a coupled group: a channel's filters are put side by side, those of each producer divided by
          their mean length, so that no producer counts more because its weights are larger.
        - Where fewer than q filters differ, k-means finds fewer clusters, and the longest of the others fill up.

    Raises:
        InvalidOption: an option or `n_keep` is out of range.
        UnsupportedModel: a weight is not finite, or no convolution, linear layer or embedding makes some channel.

    Complexity: O(n^2 * features) for the distances of n filters, O(n^2) for the tree.

    Example:
        Four filters of one weight each. Two may stay, one of {0, 1} and one of {8, 9}; the longer is elected:

        >>> ward(squared_distances(torch.tensor([[0.0], [1.0], [8.0], [9.0]])), 2).tolist()
        [0, 0, 1, 1]
    """

    summary: ClassVar[str] = "one filter of every cluster of filters that are alike"
    paper: ClassVar[str] = "Park, Kim, Kim, REPrune: Representative Election, 2020, arXiv:2007.06932 (in its spirit)"
    use_when: ClassVar[str] = "there is no data, and filters come in clusters"
    needs: ClassVar[frozenset[str]] = frozenset()

    cluster: str = "ward"
    elect: str = "medoid"

    def __post_init__(self) -> None:
        if self.cluster not in ("ward", "kmeans"):
            raise InvalidOption("representative", "cluster", "'ward' or 'kmeans'", self.cluster)
        if self.elect not in ("medoid", "max_norm"):
            raise InvalidOption("representative", "elect", "'medoid' or 'max_norm'", self.elect)

    def ratios(
        self, groups: Sequence[ChannelGroup], context: MethodContext, pruning_ratio: float
    ) -> Mapping[str, float]:
        """{group name: share to remove}, at most (n_channels - 1) / n_channels; clusters say nothing across groups."""
        return equal_ratios("representative", groups, pruning_ratio)

    def select(self, group: ChannelGroup, n_keep: int, context: MethodContext) -> Sequence[int]:
        """The `n_keep` channels of `group` that stay, ascending."""
        if not 1 <= n_keep <= group.n_channels:
            raise InvalidOption(
                "representative", "n_keep", f"from 1 to {group.n_channels}, the channels of {group.name}", n_keep
            )
        rows = channel_features(context.model, group)  # (n_channels, features)
        if rows is None:
            raise unmade("representative", group)
        squares = squared_distances(rows)  # (n_channels, n_channels)
        if self.cluster == "ward":
            labels = ward(squares, n_keep)
        else:
            labels = _kmeans(rows, n_keep, group_generator(context.seed, group.name))
        lengths = rows.square().sum(1)  # (n_channels,)
        far = _distances_within(squares, labels) if self.elect == "medoid" else torch.zeros_like(lengths)
        nearest_first = sorted(range(group.n_channels), key=lambda i: (float(far[i]), -float(lengths[i])))
        elected = {int(labels[i]): i for i in reversed(nearest_first)}
        longest_first = sorted(set(nearest_first) - set(elected.values()), key=lambda i: -float(lengths[i]))
        return sorted([*elected.values(), *longest_first[: n_keep - len(elected)]])


def ward(squares: Tensor, n_clusters: int) -> Labels:
    """Ward's clusters of n points with these squared distances: (n, n) -> (n,) numbers from 0."""
    if len(squares) == 1:
        return np.zeros(1, dtype=np.int64)
    tree = linkage(squareform(squares.sqrt().numpy(), checks=False), method="ward")
    labels: Labels = cut_tree(tree, n_clusters=n_clusters)[:, 0]
    return labels


def _kmeans(rows: Tensor, n_clusters: int, generator: np.random.Generator) -> Labels:
    from sklearn.cluster import KMeans

    n_distinct = len(rows.unique(dim=0))  # more clusters than that do not exist
    starts = KMeans(min(n_clusters, n_distinct), n_init=4, random_state=int(generator.integers(2**32)))
    labels: Labels = starts.fit_predict(rows.numpy())
    return labels


def _distances_within(squares: Tensor, labels: Labels) -> Tensor:
    """Sum of each point's distances to the members of its cluster: (n,)."""
    numbers = torch.from_numpy(labels.astype(np.int64))
    return (squares.sqrt() * (numbers[:, None] == numbers[None, :])).sum(1)


PLUGIN = Representative
