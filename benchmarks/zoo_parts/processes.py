"""One process with a time limit and a memory limit; what ends it becomes a sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from zoo_parts.results import CRASH, LIMIT
from zoo_parts.sentences import in_one_line

PARTS = Path(__file__).resolve().parent
POLL_S = 0.1
GIB = 2**30
# Where the user says nothing else: one thread, which sleeps while it waits, and no network.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
# Of all processes that run now, so that an interrupted benchmark leaves none behind.
_running: set[int] = set()
_lock = threading.Lock()
_interrupted = threading.Event()


class Interrupted(Exception):
    """The benchmark itself was ended, so nothing is known of the model."""


@dataclass(frozen=True)
class Limits:
    """What one model may take."""

    seconds: float
    memory_gib: float  # resident, of the process and its children together


@dataclass(frozen=True)
class Ended:
    """How the process ended. `reason` is a sentence, empty where it ended by itself and well."""

    reason: str
    left_behind: str  # LIMIT or CRASH where there is a reason
    seconds: float
    peak_bytes: int
    exit_code: int = 0  # where it ended by itself
    last_line: str = ""  # of what it wrote to the standard error


def run_part(module: str, arguments: Sequence[str], limits: Limits) -> Ended:
    """Runs `python -m zoo_parts.MODULE ARGUMENTS`; see `run_command`."""
    return run_command([sys.executable, "-m", f"zoo_parts.{module}", *arguments], limits)


def run_command(command: Sequence[str], limits: Limits) -> Ended:
    """Runs it in a group of processes of its own, and ends all of it.

    Raises:
        Interrupted: `end_all` was called.
    """
    path = os.pathsep.join(filter(None, (str(PARTS.parent), os.environ.get("PYTHONPATH", ""))))
    environment = {**ENVIRONMENT, **os.environ, "PYTHONPATH": path}
    with tempfile.TemporaryFile() as errors:
        with _lock:
            if _interrupted.is_set():
                raise Interrupted
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
            _running.add(process.pid)
        try:
            reason, left_behind, seconds, peak = _watch(process, limits)
        finally:
            _end_group(process.pid)
            process.wait()
            with _lock:
                _running.discard(process.pid)
        if _interrupted.is_set():
            raise Interrupted
        last_line = _last_line(errors)
        if not reason and process.returncode:
            reason, left_behind = _crash(process.returncode, last_line), CRASH
    return Ended(reason, left_behind, seconds, peak, process.returncode, last_line)


def end_all() -> None:
    """Ends every process that `run_part` started and that still runs, and lets it start no more."""
    with _lock:
        _interrupted.set()
        for pid in _running:
            _end_group(pid)


def _watch(process: subprocess.Popen[bytes], limits: Limits) -> tuple[str, str, float, int]:
    start, peak = time.monotonic(), 0
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(POLL_S)
        seconds = time.monotonic() - start
        if process.returncode is not None:
            return "", "", seconds, peak
        peak = max(peak, _memory(process.pid))
        if seconds > limits.seconds:
            return f"not finished after {limits.seconds:g} s", LIMIT, seconds, peak
        if peak > limits.memory_gib * GIB:
            return f"more than {limits.memory_gib:g} GiB of memory", LIMIT, seconds, peak


def _memory(pid: int) -> int:
    """Resident bytes of a process and its children; pages that they share count more than once."""
    total = 0
    with suppress(psutil.Error):
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            with suppress(psutil.Error):
                total += process.memory_info().rss
    return total


def _end_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _crash(code: int, last_line: str) -> str:
    if code < 0:
        names = {s.value: s.name for s in signal.Signals}
        return in_one_line(f"the process was ended by {names.get(-code, f'signal {-code}')}. {last_line}".strip())
    return in_one_line(f"the process ended with exit code {code}. {last_line}".strip())


def _last_line(errors: tempfile._TemporaryFileWrapper[bytes]) -> str:
    errors.seek(0)
    lines = [line.strip() for line in errors.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""
