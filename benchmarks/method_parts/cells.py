"""What is known, one JSON file a cell: what was chosen, and how accurate the small model is after each repair."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from compressor.core import serial
from compressor.core.errors import ModelFileError
from compressor.core.plan import PruningPlan

T = TypeVar("T")


@dataclass(frozen=True)
class Choice:
    """What may be asked of one model: a method, how it spreads the cuts, and the MACs that may remain."""

    model: str
    method: str  # a plug-in's name, or torch-pruning:NAME
    allocation: str
    budget: float  # share of the MACs
    seed: int

    def folder(self, work: Path) -> Path:
        """Where this choice and its repairs are kept."""
        name = f"{self.method.replace(':', '_')}-{self.allocation}-{round(100 * self.budget)}-{self.seed}"
        return work / self.model / name

    def __str__(self) -> str:
        return f"{self.model} {self.method} {self.allocation} {self.budget:.0%} seed {self.seed}"


@dataclass(frozen=True)
class Chosen:
    """What came of a choice; everything that its repairs need to make the small model again."""

    choice: Choice
    seconds: float = 0.0  # to choose, on one thread
    macs_share: float = 0.0  # counted on the small model
    plan: PruningPlan | None = None  # of our own methods
    pruning_ratio: float = 0.0  # of torch-pruning's
    same_as_seed: int | None = None  # this seed keeps the very channels of that one, so nothing of it is measured
    failure: str = ""  # a sentence; then there is nothing else
    cpu: str = ""


@dataclass(frozen=True)
class Repaired:
    """The accuracy of a small model after a chain of repairs."""

    chain: str
    top1_percent: float = 0.0
    n_images: int = 0
    repair_s: float = 0.0  # of all repairs of the chain
    evaluation_s: float = 0.0
    facts: dict[str, float | int | str] = field(default_factory=dict)  # of the last repair
    failure: str = ""  # a sentence; then there is no accuracy


@dataclass(frozen=True)
class Dense:
    """The whole model on the same images."""

    model: str
    top1_percent: float
    n_images: int
    evaluation_s: float
    macs: int


def read(kind: type[T], path: Path) -> T | None:
    """The file's content; None where there is none, or it is damaged or of an older version."""
    with suppress(FileNotFoundError, ModelFileError):
        return serial.load_json(kind, path)
    return None


def save(value: object, path: Path) -> None:
    """Writes it, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    serial.save_json(value, path)


def chosen_path(choice: Choice, work: Path) -> Path:
    """The file of `Chosen`."""
    return choice.folder(work) / "chosen.json"


def repaired_path(choice: Choice, chain: str, n_images: int, work: Path) -> Path:
    """The file of `Repaired`."""
    return choice.folder(work) / f"{chain}-{n_images}.json"


def dense_path(model: str, n_images: int, work: Path) -> Path:
    """The file of `Dense`."""
    return work / model / f"dense-{n_images}.json"
