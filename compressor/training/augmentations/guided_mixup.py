"""GuidedMixup: two images that differ in where they are salient, each shown where it is the more salient one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from compressor.training.augmentations._mixing import blended, check_probability, happens, unmixed
from compressor.training.augmentations._saliency import density, spectral_residual
from compressor.training.mixing import Mixed


@dataclass(frozen=True)
class GuidedMixup:
    """Pairs images whose salient places lie apart, and mixes each pixel by the ratio of the saliencies.

    Paper: Minsoo Kang, Suhyun Kim, "GuidedMixup: An Efficient Mixup Strategy Guided by Saliency Maps", AAAI 2023,
        arXiv:2306.16612; and the authors' program, where the text leaves something open.

    Equations:
        s: saliency, blurred, with a sum of 1                             -> `spectral_residual`, `density`
        D_ij = ||s_i - s_j||_2; each next image is the farthest left      -> `greedy_cycle`
        m = s_a / (s_a + s_b); x = m x_a + (1 - m) x_b; lambda = mean m   -> `guided`

    Notation:
        x: pixels, (C, H, W), as stored; s, m: (H, W), no unit; a: the image, b: its partner.
        lambda: the weight of a's label, `Mixed.share`.

    Options:
        probability: of each batch to be mixed, above 0 to 1, default 0.5: the authors' for this saliency.

    Returns:
        The mixed batch. Partners are one cycle through all images, so that no image is its own partner.

    Deviations:
        - Saliency by spectral residual, which needs no network. With any other, such as the size of the loss's gradient
          with respect to the pixels, call `guided(pixels, saliency)`.
        - Images of more than 128 pixels a side are paired, and their ratio is computed, at 128; the ratio is enlarged.
        - The spectrum's mean over neighbours goes around the borders, and its floor is a share of its maximum, so that
          brightness does not matter; saliency is blurred once, not twice; grey is the plain mean of the channels.
        - Where several images are equally far, the first is taken. The authors' program for CIFAR pairs at random in
          place of its greedy rule, by a slip in a name.
        - Saliency has 1e-6 of its maximum added, so that images without any can be divided.
        - 8-bit pixels are rounded to 8 bits again, by half a level at most.

    Raises:
        InvalidOption: probability out of range.

    Complexity:
        O(N H W log(H W)) for the saliency and O(N^2 H W) for the distances, of 128x128 pixels at most; O(N^2) for the
        pairs and O(N C H W) for the mixture.

    Example:
        Two images of two pixels, 10 and 90. The first is salient on the left (3 to 1), the second on the right (1 to
        3), unblurred. On the left the mixture is 3/4 * 10 + 1/4 * 90 = 30, on the right 1/4 * 10 + 3/4 * 90 = 70, and
        so it is for the second image: each is the other's partner.

        >>> pixels = torch.tensor([10, 90], dtype=torch.uint8).reshape(2, 1, 1, 1).repeat(1, 1, 1, 2)
        >>> mixed = by_ratio(pixels, torch.tensor([[[0.75, 0.25]], [[0.25, 0.75]]]), torch.tensor([1, 0]))
        >>> mixed.pixels.flatten(1).tolist(), mixed.share.tolist()
        ([[30, 70], [30, 70]], [0.5, 0.5])
    """

    summary: ClassVar[str] = "each pixel from the image that is more salient there, pairs that differ"
    paper: ClassVar[str] = "Kang, Kim, GuidedMixup, AAAI 2023, arXiv:2306.16612"
    use_when: ClassVar[str] = "a long training overfits, and what matters is a part of the image"
    needs: ClassVar[frozenset[str]] = frozenset()

    probability: float = 0.5

    def __post_init__(self) -> None:
        check_probability("guided_mixup", self.probability)

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Mixed:
        """(N, C, H, W) -> the same shape and type."""
        return guided(pixels, spectral_residual(pixels)) if happens(self.probability, generator) else unmixed(pixels)


def guided(pixels: Tensor, saliency: Tensor) -> Mixed:
    """Pairs and mixes by any saliency (N, h, w) >= 0 of the images; h and w need not be theirs."""
    densities = density(saliency)
    flat = densities.flatten(1)
    distances = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")  # (N, N), exact where alike
    return by_ratio(pixels, densities, greedy_cycle(distances).to(pixels.device))


def by_ratio(pixels: Tensor, densities: Tensor, partner: Tensor) -> Mixed:
    """Mixes each pixel by the ratio of the densities (N, h, w), all above 0."""
    ratio = (densities / (densities + densities[partner]))[:, None]  # (N, 1, h, w)
    if ratio.shape[-2:] != pixels.shape[-2:]:
        ratio = functional.interpolate(ratio, size=list(pixels.shape[-2:]), mode="bilinear")  # (N, 1, H, W)
    return Mixed(blended(pixels, partner, ratio), partner, ratio.mean((1, 2, 3)))


def greedy_cycle(distances: Tensor) -> Tensor:
    """One cycle through all images, each followed by the farthest that is left: (N, N) -> partners (N,).

    It begins with the two that are farthest apart, and the last is followed by the first.

    >>> greedy_cycle(torch.tensor([[0.0, 1.0, 5.0], [1.0, 0.0, 2.0], [5.0, 2.0, 0.0]])).tolist()
    [2, 0, 1]
    """
    n = len(distances)
    left: NDArray[np.float64] = distances.detach().cpu().double().numpy().copy()
    np.fill_diagonal(left, -np.inf)
    start, current = divmod(int(left.argmax()), n)
    partner = torch.empty(n, dtype=torch.int64)
    partner[start] = current
    left[:, [start, current]] = -np.inf
    for _ in range(n - 2):
        following = int(left[current].argmax())
        partner[current] = following
        left[:, following] = -np.inf
        current = following
    partner[current] = start
    return partner


PLUGIN = GuidedMixup
