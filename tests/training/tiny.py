"""A network with everything that has state (convolution, batch norm, dropout), data that it can learn, and a script.

As a script it trains, tells each step on standard output, and saves the weights: it is what tests kill, and what
torchrun starts in several processes. Usage: tiny.py FOLDER [SECONDS_PER_STEP]
"""

import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from compressor.data.dataset import ImageDataset, MemoryPixels
from compressor.data.preprocessing import Preprocessing
from compressor.training.augmentations.horizontal_flip import HorizontalFlip
from compressor.training.augmentations.random_crop import RandomCrop
from compressor.training.evaluate import evaluate
from compressor.training.loop import train
from compressor.training.losses.cross_entropy import CrossEntropy
from compressor.training.losses.distillation import Distillation
from compressor.training.recipe import Recipe
from compressor.training.update import Objective


def network(seed=0, n_classes=3):
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(16, n_classes),
        ).eval()


def dataset(n=96, seed=0, labelled=True):
    """Dark images with one bright quarter: the label says which."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (n,), generator=generator)
    pixels = torch.randint(0, 100, (n, 1, 8, 8), generator=generator, dtype=torch.uint8)
    for image, label in zip(pixels, labels.tolist(), strict=True):
        row, column = divmod(label, 2)
        image[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 120
    steps = Preprocessing((0.4,), (0.3,), (8, 8), 1, 255.0, "")
    return ImageDataset(MemoryPixels(pixels), labels if labelled else None, name="quarters", preprocessing=steps)


RECIPE = Recipe(epochs=3, lr=0.1, batch_size=16, checkpoint_minutes=0)
LOSSES = ((0.5, CrossEntropy()), (0.5, Distillation()))


def run(model, checkpoints=None, progress=None, recipe=RECIPE, data=None, losses=LOSSES, hooks=()):
    return train(
        model,
        dataset() if data is None else data,
        recipe,
        Objective(losses, augmentations=(RandomCrop(), HorizontalFlip())),
        teacher=network(seed=1),
        hooks=hooks,
        checkpoints=checkpoints,
        progress=progress,
    )


class Listener:
    """Keeps what it hears; `on_step` is called at each advance with the number of steps so far."""

    def __init__(self, on_step=lambda n: None):
        self.titles, self.notes, self.step_notes, self.on_step, self.n = [], [], [], on_step, 0
        self.measurements = []

    @contextmanager
    def step(self, title, total=None):
        self.titles.append((title, total))
        yield self

    def advance(self, n=1.0, note=""):
        self.n += n
        self.step_notes.append(note)
        self.on_step(self.n)

    def note(self, sentence):
        self.notes.append(sentence)

    def measured(self, title, step, values):
        self.measurements.append((title, step, values))


def main():
    folder, pause = Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    rank = os.environ.get("RANK", "0")

    def tell(n):
        print("step", int(n), flush=True)
        time.sleep(pause)

    model = network(seed=int(rank))  # other processes must get the main one's weights
    run(model, folder / f"checkpoints-{rank}", Listener(tell))
    save_file(model.state_dict(), folder / f"weights-{rank}.safetensors")
    accuracy, n = evaluate(model, dataset(n=95))
    # A file each: what two processes print into one pipe may come out mixed within a line.
    (folder / f"accuracy-{rank}.txt").write_text(f"{accuracy} {n}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
