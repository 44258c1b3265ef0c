"""Times files on a target: fresh processes, in which the files take turns.

A target is handed over as the string "package.module:CLASS": nothing here knows which targets exist.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from compressor.core.errors import InvalidOption, ModelFileError
from compressor.core.files import sha256_of
from compressor.core.measurement import MachineFacts, Measurement
from compressor.core.progress import Progress, SilentProgress
from compressor.profiling.children import ask
from compressor.profiling.machine import machine_facts
from compressor.profiling.worker import Request, Result

# More processes say more than longer ones: what differs between processes does not average out within one.
DEFAULT_PROCESSES = 6
DEFAULT_SECONDS = 4.0
MIN_PROCESSES = 4  # kept even where one process takes very long
MAX_SECONDS = 36.0  # of one call, loading and warming up included; only MIN_PROCESSES may take longer


def measure(
    files: Sequence[Path],
    target_name: str,
    target_factory: str,
    *,
    threads: int = 1,
    batch_size: int = 1,
    processes: int = DEFAULT_PROCESSES,
    seconds: float = DEFAULT_SECONDS,
    max_seconds: float = MAX_SECONDS,
    shapes: Mapping[str, Sequence[int]] | None = None,
    machine: MachineFacts | None = None,
    progress: Progress | None = None,
) -> list[Measurement]:
    """Times `files` in alternation on one target.

    Args:
        files: any number of files that the target accepts; the same file twice is fine.
        target_name: "onnxruntime:cpu"; recorded, and named in errors.
        target_factory: "compressor.targets.onnxruntime_cpu:PLUGIN"; imported in the worker processes only.
        threads: of the runtime, per inference.
        batch_size: samples per inference.
        processes: fresh processes; fewer (not below 4) where one takes so long that all would take over `max_seconds`.
        seconds: of sampling, over all files and processes; loading and warming up come on top.
        max_seconds: of the whole call; infinite to have exactly as many processes as asked for.
        shapes: {input name: full shape}, for inputs whose axes other than the batch are dynamic.
        machine: as it was before this program kept it busy; None: as it is now.
        progress: is told of each process.

    Returns:
        One measurement a file, in the order of `files`, of one session.

    Raises:
        InvalidOption: an option is out of range, or the target cannot time these files here.
        ModelFileError: a file is not there, or the runtime refuses it.
        UnsupportedModel: the runtime crashes on it.
    """
    _check(files, target_name, threads, processes, seconds)
    machine = machine or machine_facts()
    hashes = [sha256_of(path) for path in files]
    order = list(range(len(files)))
    request = Request(
        factory=target_factory,
        files=[str(path.resolve()) for path in files],
        order=order,
        batch_size=batch_size,
        threads=threads,
        seconds=seconds / processes,
        shapes={name: list(shape) for name, shape in (shapes or {}).items()},
    )
    results: list[Result] = []
    begin = perf_counter()
    with (progress or SilentProgress()).step(f"timing on {target_name}", processes) as step:
        while len(results) < processes:
            result = _run_worker(request, target_name)
            results.append(result)
            if len(results) == 1:
                affordable = int(min(max_seconds / (perf_counter() - begin), processes + 1)) // 2 * 2
                skipped = processes - min(processes, max(MIN_PROCESSES, affordable))
                processes -= skipped
                if skipped:
                    step.advance(skipped, "slow files: fewer processes")
            order = [*order[1:], order[0]]  # so that each file is first, second, ... equally often
            request = replace(request, order=order, burst_sizes=result.burst_sizes, rounds=result.rounds)
            step.advance(1)
    session = uuid.uuid4().hex
    return [
        Measurement(
            target=target_name,
            path=path,
            sha256=hashes[i],
            batch_size=batch_size,
            threads=threads,
            processes=tuple(tuple(result.samples[i]) for result in results),
            warmups=tuple(tuple(result.warmups[i]) for result in results),
            machine=machine,
            details=results[0].details,
            burst_size=results[0].burst_sizes[i],
            session=session,
        )
        for i, path in enumerate(files)
    ]


def _check(files: Sequence[Path], target: str, threads: int, processes: int, seconds: float) -> None:
    if not files:
        raise InvalidOption("profile", "files", "at least one file", list(files))
    if threads < 1:
        raise InvalidOption("profile", "threads", "at least 1", threads)
    if processes < 1:
        raise InvalidOption("profile", "processes", "at least 1", processes)
    if not 0 < seconds < float("inf"):
        raise InvalidOption("profile", "seconds", "a positive number", seconds)
    for path in files:
        if not path.is_file():
            raise ModelFileError(f"{path}: is not a file, so it cannot be timed on {target}. Check the path.")


def _run_worker(request: Request, target: str) -> Result:
    names = " and ".join(Path(file).name for file in dict.fromkeys(request.files))
    return ask("compressor.profiling.worker", request, Result, target, f"timing {names}")
