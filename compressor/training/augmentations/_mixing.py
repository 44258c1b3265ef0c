"""What the mixing augmentations share: who is mixed with whom, how much of each, and the arithmetic on stored pixels.

torchvision's MixUp and CutMix draw from PyTorch's global generator, timm's Mixup from NumPy's, and neither takes
another: a run that was killed could not go on to the same result. They also multiply in place, which 8-bit pixels
refuse. What is left of them is these few lines.
"""

from __future__ import annotations

import math

import torch
from scipy.special import betaincinv
from torch import Tensor

from compressor.core.errors import InvalidOption
from compressor.training.mixing import Mixed


def check_alpha(owner: str, alpha: float) -> None:
    """Raises InvalidOption where there is no such Beta distribution."""
    if not 0 < alpha < math.inf:
        raise InvalidOption(owner, "alpha", "above 0 and finite", alpha)


def check_probability(owner: str, probability: float) -> None:
    """Raises InvalidOption outside (0, 1]."""
    if not 0 < probability <= 1:
        raise InvalidOption(owner, "probability", "above 0, at most 1", probability)


def happens(probability: float, generator: torch.Generator) -> bool:
    """Whether this batch is mixed at all."""
    return float(torch.rand((), generator=generator)) < probability


def unmixed(pixels: Tensor) -> Mixed:
    """Every image is its own."""
    n = len(pixels)
    return Mixed(pixels, torch.arange(n, device=pixels.device), torch.ones(n, device=pixels.device))


def random_partners(n: int, generator: torch.Generator) -> Tensor:
    """(n,), a permutation; an image may be its own partner."""
    return torch.randperm(n, generator=generator)


def beta_shares(alpha: float, n: int, generator: torch.Generator) -> Tensor:
    """(n,) float32 from Beta(alpha, alpha), one uniform number each."""
    uniform = torch.rand(n, dtype=torch.float64, generator=generator)
    return torch.from_numpy(betaincinv(alpha, alpha, uniform.numpy())).float()


def blended(pixels: Tensor, partner: Tensor, weight: Tensor) -> Tensor:
    """weight * image + (1 - weight) * partner, in the pixels' own type; whole numbers are rounded.

    Args:
        pixels: (N, C, H, W).
        partner: (N,).
        weight: float from 0 to 1 that broadcasts over the pixels.
    """
    exact = weight * pixels + (1 - weight) * pixels[partner]  # (N, C, H, W) float
    return exact.to(pixels.dtype) if pixels.is_floating_point() else exact.round().to(pixels.dtype)


def pasted(pixels: Tensor, alpha: float, generator: torch.Generator) -> Mixed:
    """A box of the partner in each image, where it lies in the partner; the share is what the box leaves."""
    n, _, height, width = pixels.shape
    partner = random_partners(n, generator)
    side = (1 - beta_shares(alpha, n, generator)).sqrt()  # (N,) of the box, in sides of the image
    rows, columns = _span(side, height, generator), _span(side, width, generator)
    box = rows[:, :, None] & columns[:, None, :]  # (N, H, W)
    share = 1 - box.float().mean((1, 2))
    partner, box, share = partner.to(pixels.device), box.to(pixels.device), share.to(pixels.device)
    return Mixed(torch.where(box[:, None], pixels[partner], pixels), partner, share)


def _span(side: Tensor, length: int, generator: torch.Generator) -> Tensor:
    """Which positions lie in a span of side * length around a random centre: (N, length); borders cut it off."""
    centre = torch.rand(len(side), generator=generator) * length
    half = side * length / 2
    first, last = (centre - half).round()[:, None], (centre + half).round()[:, None]
    position = torch.arange(length)
    return (first <= position) & (position < last)
