"""Left-right mirror of half of the images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from compressor.core.errors import InvalidOption


@dataclass(frozen=True)
class HorizontalFlip:
    """Mirrors each image with a probability. Right for photographs; wrong for characters, signs, and left hands.

    Options:
        probability: of each image to be mirrored, above 0 to 1.
    """

    summary: ClassVar[str] = "half of the images mirrored, left to right"
    paper: ClassVar[str] = ""
    use_when: ClassVar[str] = "left and right mean the same, as in photographs (--flip is short for it)"

    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.probability <= 1:
            raise InvalidOption("horizontal_flip", "probability", "above 0, at most 1", self.probability)

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """(N, C, H, W) -> the same shape and type."""
        mirrored = torch.rand(len(pixels), generator=generator) < self.probability
        return torch.where(mirrored.to(pixels.device)[:, None, None, None], pixels.flip(-1), pixels)


PLUGIN = HorizontalFlip
