"""Times files of any origin; two of them are compared, more are each compared with the first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from compressor.core.errors import InvalidOption
from compressor.core.measurement import MachineFacts
from compressor.core.progress import Progress, SilentProgress, Step
from compressor.profiling.compare import compare
from compressor.profiling.loadgen import require_loadgen, run_scenarios
from compressor.profiling.machine import machine_facts
from compressor.profiling.starts import start_files
from compressor.profiling.timer import DEFAULT_PROCESSES, DEFAULT_SECONDS, MAX_SECONDS, measure
from compressor.report.profile_schema import Profile
from compressor.report.profile_wording import setting_of
from compressor.runs.file_sizes import bytes_of
from compressor.targets import factory_of, load_target, target_names

__all__ = ["Profile", "profile"]


@dataclass(frozen=True)
class _Setting:
    target: str
    factory: str
    threads: int
    batch_size: int


@dataclass(frozen=True)
class _Labelled:
    """Says which setting a step is about."""

    progress: Progress
    setting: _Setting

    def step(self, title: str, total: float | None = None) -> AbstractContextManager[Step]:
        return self.progress.step(f"{title}, {setting_of(self.setting.threads, self.setting.batch_size)}", total)

    def note(self, sentence: str) -> None:
        self.progress.note(sentence)

    def measured(self, title: str, step: int, values: Mapping[str, float]) -> None:
        self.progress.measured(title, step, values)


def profile(
    paths: Sequence[str | Path],
    on: Sequence[str] = (),
    *,
    threads: int | Sequence[int] = 1,
    batch_size: int | Sequence[int] = 1,
    shapes: Mapping[str, Sequence[int]] | None = None,
    processes: int | None = None,
    loadgen: bool = False,
    machine: MachineFacts | None = None,
    progress: Progress | None = None,
) -> list[Profile]:
    """Starts and times `paths` on each target, with each number of threads and each batch size.

    All files are started in all settings before the first is timed: what cannot be timed is known within seconds.

    Args:
        paths: exported files; all of them must be of a kind that each target accepts.
        on: targets; none: the CPU target that reads the first file.
        threads: of the runtime; one number or several.
        batch_size: inputs per inference; one number or several.
        shapes: {input name: whole shape}, for files whose axes other than the batch are open.
        processes: fresh processes to time in; None: six, fewer where one takes long.
        loadgen: also run MLPerf LoadGen's scenarios.
        machine: as it was before this program kept it busy; None: as it is now.
        progress: is told of each process.

    Returns:
        One profile a setting: by target, then threads, then batch size.

    Raises:
        UnknownPlugin, InvalidOption: a file or a target that does not exist, or a target that is not available or does
            not read the files; a file cannot take a batch size.
        MissingDependency: LoadGen was asked for and is not installed.
        ModelFileError: a file is damaged.
    """
    files = [Path(path) for path in paths]
    for file in files:
        if not file.is_file():
            raise InvalidOption("profile", "FILE", "an existing file", str(file), "Check the path.")
    if processes is not None and processes < 1:
        raise InvalidOption("profile", "--processes", "at least 1", processes)
    if loadgen:
        require_loadgen()
    settings = [
        _Setting(name, _factory(name, files), n_threads, size)
        for name in on or (_default_target(files[0]),)
        for n_threads in _several(threads)
        for size in _several(batch_size)
    ]
    machine, progress = machine or machine_facts(), progress or SilentProgress()
    heard = [_Labelled(progress, setting) if len(settings) > 1 else progress for setting in settings]
    found = [_started(*each, files, shapes) for each in zip(settings, heard, strict=True)]
    found = [_timed(*each, files, shapes, processes, machine) for each in zip(found, settings, heard, strict=True)]
    if loadgen:
        found = [_under_loadgen(*each, files, shapes) for each in zip(found, settings, heard, strict=True)]
    return found


def _several(numbers: int | Sequence[int]) -> tuple[int, ...]:
    return (numbers,) if isinstance(numbers, int) else tuple(numbers)


def _started(
    setting: _Setting, progress: Progress, files: Sequence[Path], shapes: Mapping[str, Sequence[int]] | None
) -> Profile:
    startups = start_files(
        files,
        [bytes_of(file) for file in files],
        setting.target,
        setting.factory,
        threads=setting.threads,
        batch_size=setting.batch_size,
        shapes=shapes,
        progress=progress,
    )
    return Profile(setting.target, (), (), tuple(startups))


def _timed(
    one: Profile,
    setting: _Setting,
    progress: Progress,
    files: Sequence[Path],
    shapes: Mapping[str, Sequence[int]] | None,
    processes: int | None,
    machine: MachineFacts,
) -> Profile:
    n_processes = processes or DEFAULT_PROCESSES
    measured = measure(
        files,
        setting.target,
        setting.factory,
        threads=setting.threads,
        batch_size=setting.batch_size,
        processes=n_processes,
        seconds=DEFAULT_SECONDS * n_processes / DEFAULT_PROCESSES,
        max_seconds=math.inf if processes else MAX_SECONDS,
        shapes=shapes,
        machine=machine,
        progress=progress,
    )
    comparisons = tuple(compare(measured[0], other) for other in measured[1:])
    return replace(one, measurements=tuple(measured), comparisons=comparisons)


def _under_loadgen(
    one: Profile,
    setting: _Setting,
    progress: Progress,
    files: Sequence[Path],
    shapes: Mapping[str, Sequence[int]] | None,
) -> Profile:
    found = run_scenarios(
        files,
        setting.target,
        setting.factory,
        threads=setting.threads,
        batch_size=setting.batch_size,
        shapes=shapes,
        progress=progress,
    )
    return replace(one, scenarios=tuple(found))


def _factory(name: str, files: Sequence[Path]) -> str:
    """Where the target is found; refuses one that cannot be used here or reads other files."""
    factory, target = factory_of(name), load_target(name)()
    unavailable = target.unavailable()
    if unavailable:
        raise InvalidOption("profile", "--on", "a target that is available here", name, unavailable)
    foreign = [file.name for file in files if file.suffix not in target.accepts]
    if foreign:
        kinds = " or ".join(target.accepts)
        raise InvalidOption(
            "profile", "--on", f"a target that reads {foreign[0]}", name, f"{name} reads {kinds} files."
        )
    return factory


def _default_target(file: Path) -> str:
    for name in target_names():
        if name.endswith(":cpu") and file.suffix in load_target(name)().accepts:
            return name
    raise InvalidOption(
        "profile", "FILE", "an .onnx, .xml or .pt2 file", file.name, "`compress targets` lists what is read."
    )
