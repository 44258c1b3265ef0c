"""What happens to pixels before a model sees them; recorded in the artefact, because the deployment must repeat it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.core.errors import InvalidOption


@dataclass(frozen=True)
class Preprocessing:
    """inputs = (pixels / divisor - mean) / std, after a resize if the images had another size."""

    mean: tuple[float, ...]  # one number a channel
    std: tuple[float, ...]
    size: tuple[int, int]  # height, width; pixels
    n_channels: int
    divisor: float  # 255 for 8-bit pixels, 1 for arrays that hold floating-point numbers
    resize: str  # how images of another size were brought to `size`; empty if none had to be

    def apply(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) or (C, H, W) pixels as they are stored -> float32 of the same shape, on the same device."""
        mean = torch.tensor(self.mean, device=pixels.device).view(-1, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(-1, 1, 1)
        return pixels.to(torch.float32).div(self.divisor).sub_(mean).div_(std)


def per_channel(option: str, values: Sequence[float] | None, n_channels: int, default: float) -> tuple[float, ...]:
    """Mean or std as one number a channel; a single number counts for all channels.

    Raises:
        InvalidOption: neither one nor `n_channels` numbers, or a std that is not above 0.
    """
    given = tuple(float(value) for value in values) if values is not None else (default,)
    if len(given) not in (1, n_channels):
        allowed = f"1 or {n_channels} numbers (one a channel)"
        raise InvalidOption("data", option, allowed, list(given), f"The images have {n_channels} channel(s).")
    if option == "std" and min(given) <= 0:
        raise InvalidOption("data", option, "above 0", list(given))
    return given * n_channels if len(given) == 1 else given


def height_and_width(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    """`size` as (height, width); one number means a square.

    Raises:
        InvalidOption: not one or two positive whole numbers.
    """
    if size is None:
        return None
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(side, int) and side > 0 for side in pair):
        raise InvalidOption("data", "size", "one or two positive whole numbers (height, width)", size)
    return pair[0], pair[1]
