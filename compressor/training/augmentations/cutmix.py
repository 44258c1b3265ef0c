"""CutMix: a box of another image is pasted into an image, and the right answer is mixed by the box's area."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from compressor.training.augmentations._mixing import check_alpha, check_probability, happens, pasted, unmixed
from compressor.training.mixing import Mixed


@dataclass(frozen=True)
class CutMix:
    """A random box of each image shows its partner; labels are weighted by the areas.

    Paper: Sangdoo Yun, Dongyoon Han, Seong Joon Oh, Sanghyuk Chun, Junsuk Choe, Youngjoon Yoo, "CutMix: Regularization
        Strategy to Train Strong Classifiers with Localizable Features", ICCV 2019, arXiv:1905.04899, section 3.1.

    Equations:
        (1) x = M x_A + (1 - M) x_B, y = lambda y_A + (1 - lambda) y_B         -> `pasted`, `Mixed.targets`
        (2) centre ~ Uniform(0, W) x Uniform(0, H), sides W sqrt(1 - lambda) and H sqrt(1 - lambda)   -> `pasted`

    Notation:
        x: pixels, (C, H, W), as stored; A: the image, B: its partner; M: 0 in the box and 1 elsewhere.
        lambda ~ Beta(alpha, alpha), no unit.

    Options:
        alpha: float, above 0, default 1 as in the paper: then lambda is uniform.
        probability: of each batch to be mixed, above 0 to 1, default 1; the authors take 0.5 for CIFAR.

    Returns:
        The mixed batch; pixels are copied, never computed.

    Deviations:
        - A box for each image; the authors' program cuts one a batch.
        - The box is rounded to whole pixels, and what lies outside the image is cut off; `Mixed.share` is what is
          really left of the image, as in the authors' program.

    Raises:
        InvalidOption: an option out of range.

    Complexity: O(N C H W).

    Example:
        The share is the part of the pixels that an image keeps:

        >>> pixels = torch.arange(4, dtype=torch.uint8).reshape(4, 1, 1, 1).repeat(1, 3, 8, 8)
        >>> mixed = CutMix()(pixels, torch.Generator().manual_seed(4))
        >>> mixed.partner.tolist()
        [2, 0, 3, 1]
        >>> kept = (mixed.pixels == pixels).float().mean((1, 2, 3))
        >>> torch.equal(kept, mixed.share)
        True
    """

    summary: ClassVar[str] = "a box of another image, labels weighted by area"
    paper: ClassVar[str] = "Yun et al., CutMix, ICCV 2019, arXiv:1905.04899"
    use_when: ClassVar[str] = "a long training overfits, and objects fill their images"
    needs: ClassVar[frozenset[str]] = frozenset()

    alpha: float = 1.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_alpha("cutmix", self.alpha)
        check_probability("cutmix", self.probability)

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Mixed:
        """(N, C, H, W) -> the same shape and type."""
        return pasted(pixels, self.alpha, generator) if happens(self.probability, generator) else unmixed(pixels)


PLUGIN = CutMix
