"""Random crop of the image mirrored at its borders: shifts each image by a few pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from compressor.core.errors import InvalidOption


@dataclass(frozen=True)
class RandomCrop:
    """Mirrors the image at its borders and cuts its own size out at a random place.

    Safe where left and right mean something, as in characters. 32x32 images move by up to 4 pixels, which is the usual
    recipe for CIFAR; it pads with black, which no image shows to the finished model: with only a few epochs left,
    mirroring gave more accuracy (`benchmarks/results.md`).

    Options:
        share: the farthest shift as a share of the side, above 0 to 0.5; with 0.125 a side of 32 moves by up to 4.
    """

    summary: ClassVar[str] = "images shifted by up to an eighth of their side"
    paper: ClassVar[str] = ""
    use_when: ClassVar[str] = "another shift than the usual one is wanted: it is on by itself"

    share: float = 0.125

    def __post_init__(self) -> None:
        if not 0 < self.share <= 0.5:
            raise InvalidOption("random_crop", "share", "above 0, at most 0.5", self.share)

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """(N, C, H, W) -> the same shape and type."""
        n, n_channels, height, width = pixels.shape
        device = pixels.device
        rows = _moved(n, height, int(height * self.share), generator).to(device)
        columns = _moved(n, width, int(width * self.share), generator).to(device)
        image = torch.arange(n, device=device)[:, None, None, None]
        channel = torch.arange(n_channels, device=device)[None, :, None, None]
        return pixels[image, channel, rows[:, None, :, None], columns[:, None, None, :]]  # (N, C, H, W)


def _moved(n: int, length: int, limit: int, generator: torch.Generator) -> Tensor:
    """Which position of the image each one of the result shows, mirrored at the borders: (n, length)."""
    by = torch.randint(-limit, limit + 1, (n, 1), generator=generator)
    position = (torch.arange(length) + by).abs()
    return length - 1 - (length - 1 - position).abs()


PLUGIN = RandomCrop
