"""A model with real weights and its images, as `compress` would load them; its groups are found once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import nn

from compressor.core.errors import DataError
from compressor.core.groups import Coverage, Role
from compressor.core.options import RunOptions, options_from
from compressor.core.progress import SilentProgress
from compressor.data.dataset import ImageDataset, MemoryPixels
from compressor.data.opening import open_dataset
from compressor.graph.cost import measure_cost
from compressor.pipeline import load_source
from compressor.runs.datasets import Datasets
from compressor.runs.record import Source
from compressor.runs.rewriting import cover_rewritten

# LOCAL and GLOBAL are the planner's. INNER is local with the residual streams left whole, as many papers prune.
LOCAL, GLOBAL, INNER = "local", "global", "inner"
ALLOCATIONS = (LOCAL, GLOBAL, INNER)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Places:
    """Where things are."""

    architectures: Path  # a file of functions, one a model
    weights: Path  # a folder of NAME_cifar10.pt
    data: Path  # a folder with train.parquet and test.parquet

    def images(self, part: str) -> ImageDataset:
        """All images of "train" or "test"."""
        return open_dataset(self.data / f"{part}.parquet", mean=MEAN, std=STD)


@dataclass(frozen=True)
class Subject:
    """One model; nothing here changes it."""

    name: str
    places: Places
    data: Datasets  # `val` holds the images that all accuracies of the benchmark are measured on

    @cached_property
    def options(self) -> RunOptions:
        """What is typed to have this model compressed."""
        return options_from(
            {
                "model": str(self.places.weights / f"{self.name}_cifar10.pt"),
                "arch": f"{self.places.architectures.resolve()}:{self.name}",
                "data": str(self.places.data / "train.parquet"),
            }
        )

    @cached_property
    def source(self) -> Source:
        """The model as it was loaded."""
        return load_source(self.options, SilentProgress())

    @cached_property
    def whole(self) -> tuple[Source, Coverage]:
        """The model as it is pruned, and its groups."""
        return cover_rewritten(self.source)

    @cached_property
    def without_streams(self) -> tuple[Source, Coverage]:
        """The same with every group of several producers left whole."""
        return cover_rewritten(self.source, self.streams)

    @property
    def streams(self) -> list[str]:
        """The layers that `--ignore` has to name for that."""
        makers = [group.having(Role.PRODUCER) for group in self.whole[1].groups]
        return [producers[0].layer for producers in makers if len(producers) > 1]

    def covered(self, allocation: str) -> tuple[Source, Coverage]:
        """The model and the groups that may lose channels under this allocation."""
        return self.without_streams if allocation == INNER else self.whole

    def macs(self, model: nn.Module | None = None) -> int:
        """Multiply-accumulates of one image through `model` (this one where none is given)."""
        return measure_cost(model or self.source.module, self.source.inputs).macs


def first_images(dataset: ImageDataset, n: int) -> ImageDataset:
    """The first `n` images of `dataset`; the same ones in every run.

    Raises:
        DataError: there are not so many.
    """
    if n > len(dataset):
        raise DataError(f"{dataset.name}: holds {len(dataset)} images, but --images asks for {n}. Ask for fewer.")
    pixels, labels = dataset.batch(range(n))
    return ImageDataset(MemoryPixels(pixels), labels, name=dataset.name, preprocessing=dataset.preprocessing)


def subjects(names: Sequence[str], places: Places, n_images: int) -> dict[str, Subject]:
    """The models by name; they share the images and are loaded when they are asked for."""
    data = Datasets(places.images("train"), first_images(places.images("test"), n_images))
    return {name: Subject(name, places, data) for name in names}
