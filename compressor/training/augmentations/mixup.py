"""Mixup: an image is blended with another, and so is the right answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from compressor.training.augmentations._mixing import (
    beta_shares,
    blended,
    check_alpha,
    check_probability,
    happens,
    random_partners,
    unmixed,
)
from compressor.training.mixing import Mixed


@dataclass(frozen=True)
class Mixup:
    """A weighted mean of two images, and of their labels with the same weights.

    Paper: Hongyi Zhang, Moustapha Cisse, Yann N. Dauphin, David Lopez-Paz, "mixup: Beyond Empirical Risk Minimization",
        ICLR 2018, arXiv:1710.09412, section 2.

    Equations:
        lambda ~ Beta(alpha, alpha)                                -> `beta_shares`
        x = lambda x_i + (1 - lambda) x_j                          -> `blended`
        y = lambda y_i + (1 - lambda) y_j                          -> `Mixed.targets`

    Notation:
        x: pixels, (C, H, W), as stored; y: one-hot labels; j: the partner of image i.
        lambda: `Mixed.share`, no unit.

    Options:
        alpha: float, above 0, default 0.2; small values leave most images nearly whole. The paper takes 1 for CIFAR-10
            and 0.1 to 0.4 for ImageNet.
        probability: of each batch to be mixed, above 0 to 1, default 1.

    Returns:
        The mixed batch.

    Deviations:
        - A lambda for each image; the authors' program draws one a batch.
        - 8-bit pixels are rounded to 8 bits again, by half a level at most.

    Raises:
        InvalidOption: an option out of range.

    Complexity: O(N C H W).

    Example:
        Two images of one pixel, 100 and 200; whatever the lambdas, each mixture lies between them.

        >>> pixels = torch.tensor([100, 200], dtype=torch.uint8).reshape(2, 1, 1, 1)
        >>> mixed = Mixup(alpha=1.0)(pixels, torch.Generator().manual_seed(1))
        >>> partners = pixels[mixed.partner]
        >>> exact = mixed.share * pixels.flatten() + (1 - mixed.share) * partners.flatten()
        >>> bool(((mixed.pixels.flatten() - exact).abs() <= 0.5).all())
        True
    """

    summary: ClassVar[str] = "weighted mean of two images and of their labels"
    paper: ClassVar[str] = "Zhang et al., mixup, ICLR 2018, arXiv:1710.09412"
    use_when: ClassVar[str] = "a long training overfits"
    needs: ClassVar[frozenset[str]] = frozenset()

    alpha: float = 0.2
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_alpha("mixup", self.alpha)
        check_probability("mixup", self.probability)

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Mixed:
        """(N, C, H, W) -> the same shape and type."""
        if not happens(self.probability, generator):
            return unmixed(pixels)
        partner = random_partners(len(pixels), generator).to(pixels.device)
        share = beta_shares(self.alpha, len(pixels), generator).to(pixels.device)
        return Mixed(blended(pixels, partner, share[:, None, None, None]), partner, share)


PLUGIN = Mixup
