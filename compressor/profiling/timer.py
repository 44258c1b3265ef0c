"""Times files on a target: fresh processes, in which the files take turns.

A target is handed over as the string "package.module:CLASS": nothing here knows which targets exist.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from compressor.core import errors
from compressor.core.errors import CompressionError, InvalidOption, ModelFileError, UnsupportedModel
from compressor.core.files import sha256_of
from compressor.core.measurement import Measurement
from compressor.core.progress import Progress, SilentProgress
from compressor.core.serial import from_json, to_plain
from compressor.core.waiting import environment_as_given
from compressor.profiling.machine import machine_facts
from compressor.profiling.worker import Request, Result

# More processes say more than longer ones: what differs between processes does not average out within one.
DEFAULT_PROCESSES = 6
DEFAULT_SECONDS = 4.0
MIN_PROCESSES = 4  # kept even where one process takes very long
_MAX_SECONDS = 36.0  # of one call, loading and warming up included; only MIN_PROCESSES may take longer
_WORKER_LIMIT_S = 900.0


def measure(
    files: Sequence[Path],
    target_name: str,
    target_factory: str,
    *,
    threads: int = 1,
    batch_size: int = 1,
    processes: int = DEFAULT_PROCESSES,
    seconds: float = DEFAULT_SECONDS,
    shapes: Mapping[str, Sequence[int]] | None = None,
    progress: Progress | None = None,
) -> list[Measurement]:
    """Times `files` in alternation on one target.

    Args:
        files: any number of files that the target accepts; the same file twice is fine.
        target_name: "onnxruntime:cpu"; recorded, and named in errors.
        target_factory: "compressor.targets.onnxruntime_cpu:PLUGIN"; imported in the worker processes only.
        threads: of the runtime, per inference.
        batch_size: samples per inference.
        processes: fresh processes; fewer (not below 4) where one takes so long that all would take over 36 s.
        seconds: of sampling, over all files and processes; loading and warming up come on top.
        shapes: {input name: full shape}, for inputs whose axes other than the batch are dynamic.
        progress: is told of each process.

    Returns:
        One measurement a file, in the order of `files`, of one session.

    Raises:
        InvalidOption: an option is out of range, or the target cannot time these files here.
        ModelFileError: a file is not there, or the runtime refuses it.
        UnsupportedModel: the runtime crashes on it.
    """
    _check(files, target_name, threads, processes, seconds)
    machine = machine_facts()
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
                affordable = int(_MAX_SECONDS / (perf_counter() - begin)) // 2 * 2
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


def profile_files(
    files: Sequence[Path],
    factories: Mapping[str, str],
    *,
    threads: int = 1,
    batch_size: int = 1,
    processes: int = DEFAULT_PROCESSES,
    seconds: float = DEFAULT_SECONDS,
    shapes: Mapping[str, Sequence[int]] | None = None,
    progress: Progress | None = None,
) -> dict[str, list[Measurement]]:
    """`measure` for several targets: {target name: factory string} in, {target name: measurements} out.

    Raises:
        As `measure`.
    """
    return {
        name: measure(
            files,
            name,
            factory,
            threads=threads,
            batch_size=batch_size,
            processes=processes,
            seconds=seconds,
            shapes=shapes,
            progress=progress,
        )
        for name, factory in factories.items()
    }


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
    """One fresh process; it is dead when this returns or raises, Ctrl-C included."""
    reading, writing = os.pipe()  # stays open while we live: the worker ends when it closes
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "compressor.profiling.worker"],
            stdin=reading,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=_environment(),
        ) as worker:
            try:
                os.write(writing, json.dumps(to_plain(request)).encode() + b"\n")
                out, err = worker.communicate(timeout=_WORKER_LIMIT_S)
            except subprocess.TimeoutExpired as error:
                limit = f"{_WORKER_LIMIT_S:.0f} s"
                raise UnsupportedModel(
                    f"{target}: timing {_names(request)} took over {limit} and was stopped."
                ) from error
            finally:
                worker.kill()
    finally:
        os.close(reading)
        os.close(writing)
    if worker.returncode != 0:
        raise UnsupportedModel(f"{target}: timing {_names(request)} failed: {_last_words(worker.returncode, err)}")
    result = from_json(Result, out, f"{target}: the answer of a timing process")
    if result.error:
        raise _revived(result)
    return result


def _names(request: Request) -> str:
    return " and ".join(Path(file).name for file in dict.fromkeys(request.files))


def _environment() -> dict[str, str]:
    """Ours, and the packages are found whatever the current folder is; modules lying about in it are not."""
    root = str(Path(__file__).parents[2])
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([root, inherited] if inherited else [root])
    return {**environment_as_given(), "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def _last_words(returncode: int, err: str) -> str:
    lines = [line.strip() for line in err.splitlines() if line.strip()]
    if returncode >= 0:
        return lines[-1] if lines else f"the process ended with exit status {returncode} and said nothing."
    name = signal.Signals(-returncode).name
    hint = " Was there enough memory?" if name == "SIGKILL" else ""
    return f"the process was ended by {name}{f' after: {lines[-1]}' if lines else ''}.{hint}"


def _revived(result: Result) -> CompressionError:
    """The worker's error as its own class, so that it keeps its exit code; the sentence is already made."""
    kind: type[CompressionError] = getattr(errors, result.error_kind, CompressionError)
    return kind.__new__(kind, result.error)
