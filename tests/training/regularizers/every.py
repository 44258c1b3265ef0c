"""Every regulariser in the real loop, on a network without anything random or of its own in each process.

As a script it trains one network with each, and saves the weights: what torchrun starts in several processes.
Usage: every.py FOLDER
"""

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from compressor.core.plugins import PluginFolder
from compressor.data.dataset import ImageDataset, MemoryPixels
from compressor.data.preprocessing import Preprocessing
from compressor.runs.coverage import cover
from compressor.training.loop import train
from compressor.training.losses.cross_entropy import CrossEntropy
from compressor.training.recipe import Recipe
from compressor.training.update import Objective
from exporters.signature import ExampleInputs

NAMES = PluginFolder("compressor.training.regularizers", "regularizer").names()
RECIPE = Recipe(epochs=3, lr=0.05, batch_size=16, checkpoint_minutes=0)
# Strong and often, so that each does something within 12 steps.
OPTIONS = {
    "mask_sparsity": {"strength": 0.05},
    "progressive": {"mixed": True},
    "reprune_schedule": {"mixed": True, "every": 1},
    "network_slimming": {"strength": 0.05},
    "proximal_slimming": {"strength": 0.3, "beta": 5.0},
    "trained_rank": {"every": 2, "energy": 0.7},
}


class Network(nn.Module):
    """Two convolutions whose channels are coupled by a sum, and in two blocks by norms that see one image at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.GroupNorm(2, 8)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.GroupNorm(2, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm1(self.conv1(x)))
        x = torch.relu(x + self.norm2(self.conv2(x)))
        return self.head(x.mean((2, 3)))


def network() -> Network:
    torch.manual_seed(0)
    model = Network().eval()
    with torch.no_grad():  # trained norms differ, too
        model.norm1.weight.copy_(torch.linspace(0.5, 1.5, 4).repeat(2))
        model.norm2.weight.copy_(torch.linspace(0.6, 1.4, 4).repeat(2))
    return model


def images(n: int = 64) -> ImageDataset:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(3, (n,), generator=generator)
    pixels = torch.randint(0, 100, (n, 1, 8, 8), generator=generator, dtype=torch.uint8)
    for image, label in zip(pixels, labels.tolist(), strict=True):
        row, column = divmod(label, 2)
        image[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 120
    return ImageDataset(
        MemoryPixels(pixels), labels, name="quarters", preprocessing=Preprocessing((0.4,), (0.3,), (8, 8), 1, 255.0, "")
    )


def hook_of(name, model):
    groups = cover(model, ExampleInputs.of(torch.zeros(2, 1, 8, 8), model)).groups
    plugin = PluginFolder("compressor.training.regularizers", "regularizer").load(name)
    return plugin(**OPTIONS.get(name, {})).attach(model, groups, seed=0, n_images=64)


def run(name, model, checkpoints=None, progress=None):
    hook = hook_of(name, model)
    train(
        model,
        images(),
        RECIPE,
        Objective([(1.0, CrossEntropy())]),
        hooks=[hook],
        checkpoints=checkpoints,
        progress=progress,
    )
    return hook


def main() -> None:
    folder, rank = Path(sys.argv[1]), os.environ.get("RANK", "0")
    for name in NAMES:
        model = network()
        run(name, model)
        save_file(dict(model.named_parameters()), folder / f"{name}-{rank}.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
