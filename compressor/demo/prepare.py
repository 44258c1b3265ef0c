"""Trains the demo's network on scikit-learn's digits for a few seconds and writes the files that a user would have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from compressor.core.files import output_errors
from compressor.core.progress import Progress
from compressor.data.opening import open_dataset
from compressor.demo.network import make_network
from compressor.training.augmentations.random_crop import RandomCrop
from compressor.training.loop import train
from compressor.training.losses.cross_entropy import CrossEntropy
from compressor.training.recipe import Recipe
from compressor.training.update import Objective

MEAN, STD = 0.305, 0.376  # of the digits' pixels, scaled to 0..1
EPOCHS = 20


@dataclass(frozen=True)
class DemoFiles:
    """What the main job is given: weights, images to train on, images to judge by."""

    weights: Path
    train: Path
    val: Path


def prepare(folder: Path, progress: Progress) -> DemoFiles:
    """Writes digits_train.npz, digits_val.npz and digits_net.safetensors into `folder`."""
    files = DemoFiles(folder / "digits_net.safetensors", folder / "digits_train.npz", folder / "digits_val.npz")
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        digits = load_digits()
        images = np.round(digits.images * (255 / 16)).astype(np.uint8)[:, None]  # (1797, 1, 8, 8)
        split = train_test_split(images, digits.target, test_size=0.3, random_state=0, stratify=digits.target)
        np.savez(files.train, images=split[0], labels=split[2])
        np.savez(files.val, images=split[1], labels=split[3])
        torch.manual_seed(0)
        network = make_network()
        dataset = open_dataset(files.train, mean=[MEAN], std=[STD])
        recipe = Recipe(epochs=EPOCHS, lr=0.1, batch_size=64)
        train(
            network,
            dataset,
            recipe,
            Objective([(1.0, CrossEntropy())], augmentations=[RandomCrop()]),
            progress=progress,
            title="Training the demo's network",
        )
        save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, files.weights)
    return files
