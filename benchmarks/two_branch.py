"""A network of two branches that share layers: the image and its half-sized copy meet again in a sum and a concat.

compress --arch benchmarks/two_branch.py:two_branch ... weights.pt
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class TwoBranch(nn.Module):
    """Stem and middle are called twice; each branch has a layer of its own, too."""

    def __init__(self, width: int = 32, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = _unit(3, width, stride=2)
        self.middle = nn.Sequential(_unit(width, 2 * width), _unit(2 * width, width))
        self.near, self.far = _unit(width, 2 * width, stride=2), _unit(width, 2 * width)
        self.joined = _unit(4 * width, 2 * width)
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W), sides that 4 divides -> (N, num_classes)."""
        near, far = (self._shared(image) for image in (x, functional.avg_pool2d(x, 2)))
        near, far = self.near(near), self.far(far)  # both (N, 2 width, H/4, W/4)
        x = self.joined(torch.cat([near + far, far], dim=1))
        return self.head(x.mean(dim=(2, 3)))

    def _shared(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return x + self.middle(x)


def _unit(n_in: int, n_out: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)
    )


def two_branch() -> nn.Module:
    """Some 150,000 parameters."""
    return TwoBranch()
