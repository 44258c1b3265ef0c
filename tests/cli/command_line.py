"""The real command line, in processes of its own."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 300
INPUT = ["--input", "1x3x8x8"]
NO_FILES = ["--export", "none", "--on", "none"]


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one sentence; fails where there is none, more than one, or a traceback."""
        assert "Traceback" not in self.err + self.out, self.err
        lines = [line for line in self.err.splitlines() if line.startswith("error:")]
        assert len(lines) == 1, self.err
        assert self.err.splitlines()[-1] == lines[0], self.err
        assert "bug of ours" not in lines[0], lines[0]
        return lines[0]


class CommandLine:
    """`python -m compressor ...` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *arguments: str | Path, **environment: str) -> Ended:
        """Waits for the end."""
        done = subprocess.run(
            self._command(arguments),
            cwd=self.folder,
            env=self._environment(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def refused(self, code: int, *arguments: str | Path, **environment: str) -> str:
        """The sentence of a command that must end with this code and print nothing on standard output."""
        ended = self.run(*arguments, **environment)
        assert (ended.code, ended.out) == (code, ""), ended
        return ended.error

    def stopped(self, signal_number: int, at: str, *arguments: str | Path, **environment: str) -> Ended:
        """Starts a command in a group of processes of its own, and sends the group a signal, as a terminal does.

        Args:
            at: text on standard error that tells that the stage is reached, or a path that appears.
        """
        process = subprocess.Popen(
            self._command(arguments),
            cwd=self.folder,
            env=self._environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stderr is not None
        seen = ""
        if at.startswith("/"):
            deadline = time.monotonic() + TIMEOUT_S
            while not Path(at).exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
        else:
            while at not in seen and (line := process.stderr.readline()):
                seen += line
            time.sleep(0.1)  # into the stage
        assert process.poll() is None, seen + process.stderr.read()
        os.killpg(process.pid, signal_number)
        out, err = process.communicate(timeout=TIMEOUT_S)
        assert not living(process.pid), "it left processes behind"
        return Ended(process.returncode, out, seen + err)

    def _command(self, arguments: tuple[str | Path, ...]) -> list[str]:
        return [sys.executable, "-m", "compressor", *map(str, arguments)]

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        path = os.pathsep.join(filter(None, (more.pop("PYTHONPATH", ""), str(ROOT))))
        quiet = {"OMP_NUM_THREADS": "1", "PYTHONPATH": path, "COLUMNS": "80", "NO_COLOR": "1"}
        return {**os.environ, **quiet, **more}


def living(group: int) -> bool:
    """Whether the group still has processes five seconds after its leader ended."""
    for _ in range(50):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        if all(state_of(pid) == "Z" for pid in members(group)):  # ended; only their parent has not looked yet
            return False
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    return True


def members(group: int) -> list[int]:
    """Processes of the group."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if fields_of(pid)[2:3] == [str(group)]]


def state_of(pid: int) -> str:
    """One letter; Z for a process that has ended."""
    return (fields_of(pid) or ["Z"])[0]


def fields_of(pid: int) -> list[str]:
    """State, parent, group, ... of a process; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def contents(folder: Path) -> dict[str, str]:
    """Every file below the folder with its hash."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
