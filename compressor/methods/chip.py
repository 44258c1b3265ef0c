"""How much a channel's feature maps differ from what the other channels can express."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from compressor.core.errors import InvalidOption
from compressor.core.groups import ChannelGroup
from compressor.core.protocols import MethodContext
from compressor.methods._maps import map_scores

CHUNK = 1 << 24  # numbers held at a time while rows are left out


def nuclear_norm_losses(rows: Tensor) -> Tensor:
    """By how much the nuclear norm falls when a row is set to zero: (P, S) -> (P,).

    Singular values are the roots of the eigenvalues of the smaller Gram matrix, from which a row is easily taken.
    """
    rows = rows.double()
    n = len(rows)
    if n <= rows.shape[1]:
        gram = rows @ rows.T  # (P, P): without row i, it loses its row and its column i
        others = (~torch.eye(n, dtype=torch.bool)).nonzero()[:, 1].reshape(n, n - 1)
        without = (gram[kept[:, :, None], kept[:, None, :]] for kept in _chunks(others, max(1, n * n)))
    else:
        gram = rows.T @ rows  # (S, S): without row i, it loses that row's outer product
        without = (gram - part[:, :, None] * part[:, None, :] for part in _chunks(rows, rows.shape[1] ** 2))
    return _nuclear_norms(gram) - torch.cat([_nuclear_norms(some) for some in without])


def mean_losses(maps: Tensor) -> Tensor:
    """The same for the maps of one layer, averaged over the images: (N, P, H, W) -> (P,)."""
    return torch.stack([nuclear_norm_losses(image) for image in maps.flatten(2)]).mean(0)


def _nuclear_norms(gram: Tensor) -> Tensor:
    """Sum of the singular values of the matrices that have these Gram matrices: (..., n, n) -> (...)."""
    return torch.linalg.eigvalsh(gram).clamp(min=0).sqrt().sum(-1)


def _chunks(rows: Tensor, size: int) -> Iterator[Tensor]:
    """Of so many rows that `size` numbers for each fit into CHUNK."""
    return iter(rows.split(max(1, CHUNK // size)))


@dataclass(frozen=True)
class ChannelIndependence:
    """A channel that the others of its layer can nearly express loses nothing with it, and leaves first.

    Paper: Yang Sui, Miao Yin, Yi Xie, Huy Phan, Saman Zonouz, Bo Yuan, "CHIP: CHannel Independence-based Pruning for
        Compact Neural Networks", NeurIPS 2021, arXiv:2110.13981.

    Equations:
        CI(A_i) = ||A||_* - ||M_i o A||_*                              -> `nuclear_norm_losses`
        score of channel i = 1/N sum over n of CI of image n           -> `mean_losses`

    Notation:
        A: the layer's feature maps on one image, one row per channel, (C, H * W), no unit; A_i: row i.
        M_i: ones but for zeros in row i; o: element by element; ||.||_*: sum of the singular values; N: images.

    Options:
        n_images (int, default 16): how many images are looked at. The authors' code takes 640.

    Returns:
        One score >= 0 (but for rounding) per channel of every group whose channels are images somewhere.

    Deviations:
        - Maps are taken as under `hrank`: where convolutions read them.
        - The rows of A are the channels of one group; those of another group on the same tensor (a concatenation) are
          judged by themselves.
        - The authors' code rounds the scores to four decimals.

    Raises:
        InvalidOption: `n_images` is below 1.
        DataError: there are no images.

    Complexity: per layer and image the eigenvalues of C matrices of size min(C, H W), and the forward passes.

    Example:
        Rows 0 and 1 are alike, of length 1: together their singular value is sqrt(2), alone 1. Row 2 stands alone:

        >>> rows = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
        >>> [round(loss, 4) for loss in nuclear_norm_losses(rows).tolist()]
        [0.4142, 0.4142, 2.0]
    """

    summary: ClassVar[str] = "nuclear norm that the layer's feature maps lose with the channel"
    paper: ClassVar[str] = "Sui et al., CHIP, NeurIPS 2021, arXiv:2110.13981"
    use_when: ClassVar[str] = "there are unlabelled images, and feature maps repeat one another"
    needs: ClassVar[frozenset[str]] = frozenset({"data"})
    comparable: ClassVar[bool] = False

    n_images: int = 16

    def __post_init__(self) -> None:
        if self.n_images < 1:
            raise InvalidOption("chip", "n_images", "at least 1", self.n_images)

    def scores(self, groups: Sequence[ChannelGroup], context: MethodContext) -> Mapping[str, Tensor]:
        """{group name: mean losses of the nuclear norm (n_channels,)}."""
        return map_scores("chip", groups, context, self.n_images, mean_losses)


PLUGIN = ChannelIndependence
