"""The original's exported files and a small model's, side by side on the targets."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from compressor.core.errors import InvalidOption
from compressor.core.measurement import Measurement
from compressor.core.options import MEASURED, RunOptions
from compressor.profiling.timer import DEFAULT_PROCESSES, DEFAULT_SECONDS, MAX_SECONDS, measure
from compressor.runs.folder import RunFolder
from compressor.runs.record import Record
from compressor.targets import factory_of, load_target
from exporters.discovery import format_class
from exporters.export import export
from exporters.types import ExportedFile

DEFAULT_TARGETS = {"onnx": "onnxruntime:cpu", "openvino": "openvino:cpu"}
ANY_TARGET = "torch:cpu"  # it reads the program that every run writes
PROGRAM = "pt2"


@dataclass(frozen=True)
class Effort:
    """How much timing."""

    processes: int = DEFAULT_PROCESSES
    seconds: float = DEFAULT_SECONDS
    max_seconds: float = MAX_SECONDS


def targets_of(options: RunOptions) -> tuple[str, ...]:
    """Targets that were asked for; else the CPU runtime of each exported format, and PyTorch where there is none."""
    if "none" in options.on:
        return ()
    names = options.on or tuple(DEFAULT_TARGETS[f] for f in options.formats if f in DEFAULT_TARGETS) or (ANY_TARGET,)
    for name in names:
        factory_of(name)
    return names


def accepted(target: Any, files: Sequence[ExportedFile]) -> ExportedFile | None:
    """The exported file that the target reads; its own format (IR on OpenVINO) before a foreign one."""
    fitting = [file for file in files if Path(file.path).suffix in target.accepts]
    return min(fitting, key=lambda file: target.accepts.index(file.path.suffix), default=None)


def not_accepted(target: Any) -> str:
    """Why a target has nothing to time."""
    return f"no exported file is a {' or '.join(target.accepts)}; add the format to --export"


def require_targets(options: RunOptions) -> None:
    """Refuses a budget in time whose targets are not here, or read nothing that is exported, before any work is done.

    Raises:
        InvalidOption: one is not, or does not.
    """
    if options.budget[0] not in MEASURED:
        return
    suffixes = {format_class(name).suffix for name in (*options.formats, PROGRAM)}
    for name in targets_of(options):
        target = load_target(name)()
        reason = target.unavailable() or ("" if suffixes & set(target.accepts) else not_accepted(target))
        if reason:
            raise _not_here(name, reason)


def _not_here(target: str, reason: str) -> InvalidOption:
    return InvalidOption("compress", "--on", "targets that can be timed here", target, f"{reason.rstrip('.')}.")


def export_original(record: Record, formats: Sequence[str], folder: RunFolder) -> None:
    """Adds the original's files to the record, those that are not there yet."""
    there = {file.format for file in record.base_files}
    missing = [name for name in dict.fromkeys(formats) if name not in there]
    if missing:
        with record.progress.step("Exporting the original, to time it"):
            record.base_files += export(record.source.original, record.source.inputs, missing, folder.work / "base")


def shapes_of(record: Record) -> dict[str, tuple[int, ...]]:
    """{input name: whole shape} as they are timed, with the run's batch size."""
    options, inputs = record.options, record.source.inputs
    return {n: (options.batch_size, *t.shape[1:]) for n, t in zip(inputs.names, inputs.tensors, strict=True)}


def timed(record: Record, target: str, paths: Sequence[Path], effort: Effort) -> list[Measurement]:
    """Times files in alternation, with the run's threads, batch size and inputs.

    Raises:
        InvalidOption, ModelFileError, UnsupportedModel: the target cannot time these files.
    """
    options = record.options
    return measure(
        paths,
        target,
        factory_of(target),
        threads=options.threads,
        batch_size=options.batch_size,
        processes=effort.processes,
        seconds=effort.seconds,
        max_seconds=effort.max_seconds,
        shapes=shapes_of(record),
        machine=record.machine,
        progress=record.progress,
    )


class Bench:
    """Times any number of small models against one original, on all targets of the run."""

    def __init__(self, record: Record, folder: RunFolder) -> None:
        """
        Raises:
            InvalidOption: a target is not here, or reads none of the formats that the run exports.
        """
        self._record, self._folder = record, folder
        options = record.options
        self.targets = targets_of(options)
        export_original(record, [name for name in options.formats if name != PROGRAM], folder)
        self.formats: dict[str, str] = {}  # of the file that each target reads
        for name in self.targets:
            target = load_target(name)()
            if ".pt2" in target.accepts:
                export_original(record, [PROGRAM], folder)
            file, reason = accepted(target, record.base_files), target.unavailable()
            if reason or file is None:
                reason = reason or not_accepted(target)
                raise _not_here(name, reason)
            self.formats[name] = file.format

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """{input name: whole shape} as they are timed."""
        return shapes_of(self._record)

    def original_file(self, format: str) -> ExportedFile:
        """The original in that format, exported if it is not there yet."""
        export_original(self._record, [format], self._folder)
        return next(file for file in self._record.base_files if file.format == format)

    @contextmanager
    def files_of(self, small: nn.Module) -> Iterator[dict[str, tuple[Path, Path]]]:
        """{target: (original's file, small model's file)}, for as long as they are needed."""
        place = self._folder.work / "timed"
        formats = list(dict.fromkeys(self.formats.values()))
        with self._record.progress.step("Exporting a model, to time it"):
            files = export(small, self._record.source.inputs, formats, place)
        try:
            yield {name: (self._path(name, self._record.base_files), self._path(name, files)) for name in self.targets}
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def pair(self, target: str, files: tuple[Path, Path], effort: Effort) -> tuple[Measurement, Measurement]:
        """The original's and the small model's file in alternation."""
        before, after = timed(self._record, target, files, effort)
        return before, after

    def original(self, target: str, effort: Effort) -> Measurement:
        """The original alone."""
        return timed(self._record, target, [self._path(target, self._record.base_files)], effort)[0]

    def _path(self, target: str, files: Sequence[ExportedFile]) -> Path:
        return next(file.path for file in files if file.format == self.formats[target])
