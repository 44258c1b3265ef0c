"""Random crop of the padded image: shifts each image by a few pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from compressor.core.errors import InvalidOption


@dataclass(frozen=True)
class RandomCrop:
    """Pads with zeros (black) and cuts the image's own size out at a random place.

    Safe where left and right mean something, as in characters. 32x32 images move by up to 4 pixels, which
    is the usual recipe for CIFAR.

    Options:
        share: padding as a share of the side, above 0 to 0.5; a side of 32 with 0.125 is padded by 4.
    """

    share: float = 0.125

    def __post_init__(self) -> None:
        if not 0 < self.share <= 0.5:
            raise InvalidOption("random_crop", "share", "above 0, at most 0.5", self.share)

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """(N, C, H, W) -> the same shape and type."""
        n, n_channels, height, width = pixels.shape
        device = pixels.device
        pad_h, pad_w = int(height * self.share), int(width * self.share)
        padded = functional.pad(pixels, (pad_w, pad_w, pad_h, pad_h))  # (N, C, H + 2 pad_h, W + 2 pad_w)
        top = torch.randint(2 * pad_h + 1, (n, 1), generator=generator).to(device)
        left = torch.randint(2 * pad_w + 1, (n, 1), generator=generator).to(device)
        rows = top + torch.arange(height, device=device)  # (N, H)
        columns = left + torch.arange(width, device=device)  # (N, W)
        image = torch.arange(n, device=device)[:, None, None, None]
        channel = torch.arange(n_channels, device=device)[None, :, None, None]
        return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]  # (N, C, H, W)


PLUGIN = RandomCrop
