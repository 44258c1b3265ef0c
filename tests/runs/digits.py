"""A tiny classifier, images it can learn and the files that a user would have of both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn


def network() -> nn.Sequential:
    """For 1x8x8 images and three classes."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 3),
    ).eval()


def write(folder: Path, n: int = 90) -> None:
    """net.pt, and images.npz whose labels say which quarter is bright."""
    torch.manual_seed(0)
    torch.save(network(), folder / "net.pt")
    generator = np.random.default_rng(0)
    labels = np.arange(n) % 3
    images = generator.integers(0, 100, (n, 1, 8, 8), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 120
    np.savez(folder / "images.npz", images=images, labels=labels)
