"""Mean rank of a channel's feature maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from compressor.core.errors import InvalidOption
from compressor.core.groups import ChannelGroup
from compressor.core.protocols import MethodContext
from compressor.methods._maps import map_scores


def mean_ranks(maps: Tensor) -> Tensor:
    """Rank of each map, averaged over the images: (N, P, H, W) -> (P,).

    Singular values below max(H, W) times the precision of single numbers times the largest one count as zero: maps are
    computed in that precision, and its rounding is no information.
    """
    rounding = max(maps.shape[-2:]) * torch.finfo(torch.float32).eps
    return torch.linalg.matrix_rank(maps, rtol=rounding).double().mean(0)


@dataclass(frozen=True)
class HighRank:
    """Channels whose feature maps have a low rank carry little information, whatever the image, and leave first.

    Paper: Mingbao Lin, Rongrong Ji, Yan Wang, Yichen Zhang, Baochang Zhang, Yonghong Tian, Ling Shao, "HRank: Filter
        Pruning using High-Rank Feature Map", CVPR 2020, arXiv:2002.10179.

    Equations:
        score of channel i = 1/N sum over n of rank(O_i(n))   -> `mean_ranks`

    Notation:
        O_i(n): feature map of channel i on image n, behind the activation, (H, W), no unit; N: images.

    Options:
        n_images (int, default 64): how many images are looked at; the paper takes 640, and finds that the ranks hardly
            depend on which.

    Returns:
        One score >= 0 per channel of every group whose channels are images somewhere.

    Deviations:
        - Maps are taken where convolutions read them, which is behind the norm and the activation wherever the network
          is built so; in a residual stream that is behind the addition. A group that no convolution reads (the last
          before a pooling) is seen where the first of its norms returns it, before the activation.
        - A channel that several convolutions read gets the mean.
        - The tolerance of the rank is that of single precision for models of any precision.

    Raises:
        InvalidOption: `n_images` is below 1.
        DataError: there are no images.

    Complexity: one singular value decomposition per map, O(H W min(H, W)) each, and the forward passes.

    Example:
        A map whose rows are all alike has rank 1, one with an edge that moves has rank 2:

        >>> mean_ranks(torch.tensor([[[[1.0, 2.0], [1.0, 2.0]], [[1.0, 0.0], [0.0, 1.0]]]])).tolist()
        [1.0, 2.0]
    """

    summary: ClassVar[str] = "mean rank of the channel's feature maps"
    paper: ClassVar[str] = "Lin et al., HRank, CVPR 2020, arXiv:2002.10179"
    use_when: ClassVar[str] = "there are unlabelled images, and some feature maps carry little"
    needs: ClassVar[frozenset[str]] = frozenset({"data"})
    comparable: ClassVar[bool] = False

    n_images: int = 64

    def __post_init__(self) -> None:
        if self.n_images < 1:
            raise InvalidOption("hrank", "n_images", "at least 1", self.n_images)

    def scores(self, groups: Sequence[ChannelGroup], context: MethodContext) -> Mapping[str, Tensor]:
        """{group name: mean ranks (n_channels,)}."""
        return map_scores("hrank", groups, context, self.n_images, mean_ranks)


PLUGIN = HighRank
