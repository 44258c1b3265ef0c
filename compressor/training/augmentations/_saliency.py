"""Where an image holds what is not to be expected, without a network: the spectral residual.

Paper:
    Xiaodi Hou, Liqing Zhang, "Saliency Detection: A Spectral Residual Approach", CVPR 2007.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

LARGEST = 128  # pixels a side; saliency is coarse, and larger images only cost time
FLOOR = 1e-6  # of the largest: below it, magnitudes and saliencies are rounding errors
BLUR, BLUR_RADIUS = 3.0, 3  # standard deviation and reach, pixels


def spectral_residual(pixels: Tensor) -> Tensor:
    """What is left of each image when its spectrum is made as smooth as its surroundings: (N, C, H, W) -> (N, h, w).

    h and w are H and W, or 128 where those are larger.

    R = exp(log M - mean of log M over 3x3 neighbours), M the magnitude of the spectrum; the saliency is the magnitude
    of the inverse transform of R with the phase as it was. Not negative; the same for an image of other brightness.
    """
    grey = pixels.float().mean(1, keepdim=True)  # (N, 1, H, W)
    height, width = grey.shape[-2:]
    if max(height, width) > LARGEST:
        small = [min(height, LARGEST), min(width, LARGEST)]
        grey = functional.interpolate(grey, size=small, mode="bilinear", antialias=True)
    spectrum = torch.fft.fft2(grey)  # (N, 1, h, w) complex
    magnitude = spectrum.abs()
    floor = FLOOR * magnitude.amax((2, 3), keepdim=True)
    magnitude = torch.hypot(magnitude, floor.clamp(min=torch.finfo(torch.float32).tiny))
    level = magnitude.log()
    # A spectrum has no borders: what leaves on one side comes in on the other.
    mean_level = functional.avg_pool2d(functional.pad(level, (1, 1, 1, 1), mode="circular"), 3, stride=1)
    return torch.fft.ifft2(spectrum / magnitude * (level - mean_level).exp()).abs()[:, 0]


def density(saliency: Tensor) -> Tensor:
    """Blurred and scaled to a sum of 1, above 0 everywhere: (N, H, W) of numbers >= 0 -> (N, H, W).

    Saliency of nothing but zeros becomes the same everywhere.
    """
    offset = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, device=saliency.device)
    taps = torch.softmax(-offset.float().square() / (2 * BLUR**2), 0)  # (7,), sum 1
    reach = (BLUR_RADIUS,) * 4
    blurred = functional.pad(saliency.float()[:, None], reach, mode="replicate")  # (N, 1, H+6, W+6)
    blurred = functional.conv2d(functional.conv2d(blurred, taps.view(1, 1, -1, 1)), taps.view(1, 1, 1, -1))[:, 0]
    largest = blurred.amax((1, 2), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    above = blurred / largest + FLOOR
    return above / above.sum((1, 2), keepdim=True)
