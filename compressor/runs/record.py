"""What a run has found out so far; each stage adds to it, and the report is made from it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from compressor.core.errors import InvalidOption
from compressor.core.findings import Diagnosis
from compressor.core.groups import Coverage, ModelCost
from compressor.core.layers import LayerTable
from compressor.core.measurement import Comparison, MachineFacts, Measurement
from compressor.core.options import RunOptions
from compressor.core.plan import PruningPlan, Rewrite
from compressor.core.progress import Progress
from compressor.core.startup import Startup
from compressor.profiling.machine import machine_facts
from compressor.report.schema import AccuracyRow, Alternatives, Control, Ladder, LowRank, SpeedSearch, StageRow
from compressor.surgery.check import Difference
from exporters.signature import ExampleInputs
from exporters.types import ExportedFile, Verification


@dataclass(frozen=True)
class Source:
    """The model that came in."""

    module: nn.Module
    inputs: ExampleInputs
    name: str  # as the user named it
    inputs_from: str
    sha256: str = ""  # of the file; empty for a live module
    preprocessing: dict[str, list[float]] = field(default_factory=dict)
    rewrites: tuple[Rewrite, ...] = ()  # what was replaced in `module`
    as_given: nn.Module | None = None  # the model before that; None if nothing was
    untrained: nn.Module | None = None  # `module` before it was trained for the cut; None if it was not

    @property
    def original(self) -> nn.Module:
        """The user's own module, which files and times are compared with."""
        given = self.untrained if self.as_given is None else self.as_given
        return self.module if given is None else given


@dataclass(frozen=True)
class Whole:
    """The model before its layers were split."""

    source: Source
    coverage: Coverage


@dataclass(frozen=True)
class ControlModel:
    """The third arm, as it was asked for."""

    name: str  # as the user named it
    kind: str  # a value of `ControlKind`
    description: str = ""
    module: nn.Module | None = None  # None: only its runtime can read it, or (`narrow`) it is not made yet
    preprocessing: dict[str, list[float]] = field(default_factory=dict)  # mean and std that it names itself
    as_is: ExportedFile | None = None  # a file that is timed as the user gave it
    unmeasured: str = ""  # why its accuracy cannot be measured
    unmade: str = ""  # why there is no file of it


@dataclass(frozen=True)
class Timing:
    """One target: measurements of original and compressed file and what they say, or why there are none."""

    target: str
    unavailable: str = ""
    base: Measurement | None = None
    compressed: Measurement | None = None
    comparison: Comparison | None = None
    control: Measurement | None = None  # taken in turns with the other two
    control_unavailable: str = ""  # why there is none although one was asked for


def device_of(options: RunOptions) -> str:
    """Where training and evaluation run: the device that was named, else the first GPU, else the CPU."""
    if options.device != "auto":
        return options.device
    return "cuda" if torch.cuda.is_available() else "cpu"


def require_device(options: RunOptions) -> None:
    """Refuses a GPU that is not there.

    Raises:
        InvalidOption: PyTorch does not see it.
    """
    kind, _, number = options.device.partition(":")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        seen = f"PyTorch sees {torch.cuda.device_count()} GPUs."
        raise InvalidOption("compress", "--device", "a device that is there, or auto", options.device, seen)


@dataclass
class Record:
    """Grows while the run works. Everything in it was done or measured; nothing is a prediction."""

    source: Source
    options: RunOptions
    progress: Progress
    coverage: Coverage | None = None
    importance: dict[str, Tensor] | None = None  # of each channel, as training for the cut left it
    whole: Whole | None = None  # None: no layer was split
    low_rank: LowRank | None = None
    plan: PruningPlan | None = None
    budget_met: bool = True
    difference: Difference | None = None
    accuracy: list[AccuracyRow] = field(default_factory=list)
    ladder: Ladder | None = None
    speed_search: SpeedSearch | None = None
    stages: list[StageRow] = field(default_factory=list)
    files: list[ExportedFile] = field(default_factory=list)
    base_files: list[ExportedFile] = field(default_factory=list)
    verifications: list[Verification] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=list)
    startups: dict[str, tuple[Startup, Startup]] = field(default_factory=dict)  # target -> original, compressed
    layer_tables: list[LayerTable] = field(default_factory=list)
    diagnoses: list[Diagnosis] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    control: ControlModel | None = None
    control_files: list[ExportedFile] = field(default_factory=list)
    control_result: Control | None = None
    alternatives: Alternatives | None = None
    machine: MachineFacts = field(default_factory=machine_facts)  # before the run kept it busy

    @property
    def device(self) -> str:
        """Where training and evaluation run."""
        return device_of(self.options)

    @property
    def cost(self) -> ModelCost:
        """Of the model before anything was split or cut: budgets and reports are shares of it."""
        found = self.whole.coverage if self.whole is not None else self.coverage
        if found is None:
            raise RuntimeError("coverage comes before counts")
        return found.cost

    @contextmanager
    def stage(self, name: str) -> Iterator[dict[str, float | int | str]]:
        """Times a stage; what it puts into the dictionary stands in the report."""
        facts: dict[str, float | int | str] = {}
        start = time.perf_counter()
        yield facts
        self.stages.append(StageRow(name, time.perf_counter() - start, facts))

    def note(self, sentence: str) -> None:
        """Tells people now, and again in the report."""
        if sentence not in self.notes:
            self.notes.append(sentence)
            self.progress.note(sentence)
