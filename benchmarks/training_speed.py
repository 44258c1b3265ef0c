"""Images per second of our training loop, compiled and not, and of a plain PyTorch loop; and what each has learned.

All train ResNet-20 from the same random weights on the same CIFAR-10 images (JPEG copies, decoded before), with the
same recipe: SGD with Nesterov momentum under the same one-cycle learning rate, shifts by up to four pixels, mirroring.
The plain loop is what tutorials show: torchvision's transforms of one image after the other in worker processes,
float32, contiguous tensors. Workers are started once and not counted, and neither is the minute that torch.compile
takes, which our loop does by itself only where the training is long. The loops take turns; each training is kept in
--work; the machine has to be idle.

    python benchmarks/training_speed.py [--images 10000] [--epochs 3] [--rounds 3] [--write-docs]
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import scipy.stats
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

sys.path.insert(0, str(Path(__file__).parent))
import cifar_resnet
from method_parts.cells import read, save
from method_parts.section import write_section
from method_parts.subject import MEAN, STD, Places
from zoo_parts.sentences import ROOT

from compressor.data.dataset import ImageDataset
from compressor.training.augmentations.horizontal_flip import HorizontalFlip
from compressor.training.augmentations.random_crop import RandomCrop
from compressor.training.evaluate import evaluate
from compressor.training.loop import train
from compressor.training.losses.cross_entropy import CrossEntropy
from compressor.training.recipe import ALWAYS, NEVER, Recipe
from compressor.training.schedule import learning_rate
from compressor.training.update import Objective

COMPILED, OURS, PLAIN = "ours, compiled", "ours", "plain PyTorch"
ARMS = (COMPILED, OURS, PLAIN)
N_WORKERS = 2
HEADING = "## Speed of training (`training_speed.py`)"
RESULTS = ROOT / "benchmarks" / "results.md"


@dataclass(frozen=True)
class Got:
    """One training."""

    arm: str
    number: int  # of the round, and the seed
    images_per_s: float
    accuracy: float  # top-1 in percent on the test images


class Tutorial(Dataset):
    """As torchvision's CIFAR10: pixels in memory, and one picture after the other through the transforms."""

    def __init__(self, images: ImageDataset) -> None:
        pixels, self.labels = images.batch(range(len(images)))
        self.pixels = pixels.permute(0, 2, 3, 1).contiguous().numpy()  # (N, H, W, C) uint8
        self.transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.pixels[index]), int(self.labels[index])


def main() -> int:
    options = _options()
    if options.write_docs is not None:
        write_section(options.write_docs, HEADING, section(options))
        return 0
    places = Places(Path(cifar_resnet.__file__), Path(), options.data)
    images, test = places.images("train"), places.images("test")
    images = images.part(torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[: options.images])
    for number in range(options.rounds):
        for arm in (*ARMS[number % 3 :], *ARMS[: number % 3]):  # each is first, second and last equally often
            path = _path(options, arm, number)
            if read(Got, path) is None:
                torch.manual_seed(number)
                model = cifar_resnet.resnet20()
                recipe = Recipe(epochs=options.epochs, lr=0.1, batch_size=128, seed=number)
                rate = plain(model, images, recipe) if arm == PLAIN else ours(model, images, recipe, arm == COMPILED)
                got = Got(arm, number, rate, evaluate(model.eval(), test)[0])
                save(got, path)
                print(f"round {number}, {arm}: {got.images_per_s:.0f} images/s, {got.accuracy:.2f} %", flush=True)
    print(section(options))
    return 0


def ours(model: nn.Module, images: ImageDataset, recipe: Recipe, compiled: bool) -> float:
    recipe = replace(recipe, compile=ALWAYS if compiled else NEVER)
    objective = Objective([(1.0, CrossEntropy())], augmentations=[RandomCrop(), HorizontalFlip()])
    return train(model, images, recipe, objective).images_per_s


def plain(model: nn.Module, images: ImageDataset, recipe: Recipe) -> float:
    loader = DataLoader(
        Tutorial(images),
        recipe.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=N_WORKERS,
        persistent_workers=True,
    )
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=True)
    n_steps = recipe.epochs * len(loader)
    criterion = nn.CrossEntropyLoss()
    next(iter(loader))  # the workers are up
    model.train()
    step, begin = 0, time.perf_counter()
    for _ in range(recipe.epochs):
        for inputs, labels in loader:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, n_steps, recipe.lr, recipe.warmup)
            optimizer.zero_grad()
            criterion(model(inputs), labels).backward()
            optimizer.step()
            step += 1
    return step * recipe.batch_size / (time.perf_counter() - begin)


def section(options: argparse.Namespace) -> str:
    """All arms, and their ratios to the plain loop with intervals over the rounds."""
    rounds = []
    for number in range(options.rounds):
        found = {arm: read(Got, _path(options, arm, number)) for arm in ARMS}
        if None not in found.values():
            rounds.append(found)
    lines = [
        f"ResNet-20 from random weights, {options.images:,} images of CIFAR-10, {options.epochs} epochs, "
        f"{len(rounds)} rounds, {torch.get_num_threads()} threads; {N_WORKERS} workers in the plain loop.",
        "Accuracy: top-1 on 5,000 test images, mean over the rounds with the standard deviation. Intervals: 95 %.",
        "",
        "| loop | images per second | times the plain loop | accuracy | points more than the plain loop |",
        "|---|---|---|---|---|",
    ]
    if len(rounds) < 2:
        return "\n".join([*lines, "", "**Fewer than two rounds have been run.**"])
    for arm in ARMS:
        accuracies = [each[arm].accuracy for each in rounds]
        rate = statistics.median(each[arm].images_per_s for each in rounds)
        accuracy = f"{statistics.mean(accuracies):.2f} % ± {statistics.stdev(accuracies):.2f}"
        times, points = "1", "0"
        if arm != PLAIN:
            rates = [math.log(each[arm].images_per_s / each[PLAIN].images_per_s) for each in rounds]
            times = "{:.2f} [{:.2f}, {:.2f}]".format(*map(math.exp, _interval(rates)))
            more = [each[arm].accuracy - each[PLAIN].accuracy for each in rounds]
            points = "{:+.2f} [{:+.2f}, {:+.2f}]".format(*_interval(more))
        lines.append(f"| {arm} | {rate:.0f} | {times} | {accuracy} | {points} |")
    return "\n".join(lines)


def _interval(values: list[float]) -> tuple[float, float, float]:
    """Mean and Student's 95 % interval."""
    mean = statistics.mean(values)
    half = scipy.stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def _path(options: argparse.Namespace, arm: str, number: int) -> Path:
    work: Path = options.work
    return work / f"{options.images}-{options.epochs}-{arm.replace(', ', '-').replace(' ', '_')}-{number}.json"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cifar10"), help="train.parquet, test.parquet")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write-docs", type=Path, nargs="?", const=RESULTS, metavar="FILE", help="measure nothing")
    parser.add_argument("--work", type=Path, default=ROOT / "benchmarks" / "work" / "training_speed")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
