"""A tiny classifier, images it can learn and the files that a user would have of both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from compressor.core.progress import SilentProgress
from compressor.core.protocols import RecoveryContext
from compressor.data.opening import open_dataset
from compressor.recovery.finetune import FineTune


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


def learn(folder: Path) -> None:
    """Trains the network in net.pt until it is right about all images."""
    model = torch.load(folder / "net.pt", weights_only=False)
    data = open_dataset(folder / "images.npz")
    tuning = FineTune(epochs=20, batch_size=16, lr=0.1, distill=0.0, crop=False)
    facts = tuning.apply(RecoveryContext(model, network(), train=data), SilentProgress())
    assert facts["train_accuracy_percent_epoch_20"] == 100
    torch.save(model, folder / "net.pt")
