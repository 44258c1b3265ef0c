"""The run folder: claimed, worked in under a hidden name, and filled only with whole files at the end.

While a run works, everything lies in `RUN/.work`, so that a crash, a full disk or Ctrl-C leaves no half of a result,
and the same command finds the stages that were finished. `report.json` is moved last: a folder that has it is a
finished run.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from compressor.core import serial
from compressor.core.errors import InvalidOption, ModelFileError, OutputError
from compressor.core.files import output_errors, write_atomically
from compressor.core.options import RunOptions, changed
from compressor.runs.processes import is_main_process

FINISHED = "report.json"
WORK = ".work"
IDENTITY = "identity.json"
REPLACED = "replaced.json"  # the report of the finished run whose place this one takes
OUR_FILES = frozenset(
    {"model.safetensors", "plan.json", "measurements.json", FINISHED, "report.html", "recipe.toml"}
)  # and the exported files that the report names
# Files and timings are always made anew, so an interrupted run may go on with others; and the model may be renamed.
DONE_ANEW = frozenset(
    {"model", "export", "opset", "on", "threads", "batch_size", "control"}
    | {"control_arch", "control_args", "control_accuracy", "alternatives", "track"}
)
CONTROL = "control"  # the control's files, in `work`
# What the same command makes anew: the files of the original, of trials and of the control, which are timed.
NOT_WORTH_KEEPING = frozenset({IDENTITY, "base", "timed", CONTROL})
T = TypeVar("T")


@dataclass(frozen=True)
class RunFolder:
    """A claimed folder. `work` is where stages write."""

    path: Path
    made: bool = False  # by this process
    passing: bool = False  # goes when the process ends

    @property
    def work(self) -> Path:
        """Where stages write; gone when the run is finished."""
        return self.path / WORK

    @classmethod
    def check(cls, path: Path, force: bool) -> None:
        """Whether a run may take the folder; changes nothing.

        Raises:
            OutputError: it cannot be written, is not empty and not a run, or holds a finished run (without `force`).
        """
        with output_errors(path):
            require_writable(path)
            interrupted = (path / WORK).is_dir() and not (path / FINISHED).exists()
            if interrupted or not path.exists():
                return
            if _is_report(path / FINISHED):
                if not force:
                    step = "Choose another folder with -o, or replace it with --force."
                    raise OutputError(f"{path}: holds a finished run. {step}")
                return
            foreign = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
            if foreign:
                step = "Choose another folder with -o."
                raise OutputError(f"{path}: is not empty and not a run (it holds {foreign[0]}). {step}")

    @classmethod
    def claim(cls, path: Path, options: RunOptions, source_sha256: str) -> RunFolder:
        """Takes the folder for this run, or goes on with the same run where it was interrupted.

        A finished run in it stays as it is until this one is finished, too.

        Raises:
            OutputError: as `check`; or it holds an interrupted run of another model or with other options (without
                `force`).
        """
        cls.check(path, options.force)
        folder = cls(path, made=not path.exists())
        identity = _identity(options, source_sha256)
        with output_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            known = folder.work / IDENTITY
            if known.exists() and known.read_text() != identity:
                if folder._worth_keeping() and not options.force:
                    step = "Choose another folder with -o, or start over with --force."
                    raise OutputError(
                        f"{path}: holds an interrupted run of another model or with other options. {step}"
                    )
                shutil.rmtree(folder.work)
            folder.work.mkdir(exist_ok=True)
            write_atomically(known, identity)
        return folder

    @classmethod
    def temporary(cls, path: Path) -> RunFolder:
        """A folder of our own for a run that is not (yet) to be kept; it goes when the process ends."""
        folder = cls(path, passing=True)
        folder.work.mkdir(parents=True)
        atexit.register(shutil.rmtree, path, ignore_errors=True)
        return folder

    def leave(self) -> None:
        """After a failure: no trace of a run that got nowhere; what the same command can go on from stays."""
        if not self._worth_keeping():
            shutil.rmtree(self.work, ignore_errors=True)
            if self.made:
                with suppress(OSError):  # somebody put something else into it
                    self.path.rmdir()

    def _worth_keeping(self) -> bool:
        return self.work.is_dir() and any(entry.name not in NOT_WORTH_KEEPING for entry in self.work.iterdir())

    def remember(self, stage: str, kind: type[T], make: Callable[[], T]) -> T:
        """The value of a stage: read back if the run got that far before, else made, and saved by the main process."""
        path = self.work / f"{stage}.json"
        # There is none, or it is damaged, or of another version.
        with suppress(FileNotFoundError, ModelFileError):
            return serial.load_json(kind, path)
        value = make()
        if is_main_process():
            serial.save_json(value, path)
        return value

    def finish(self, files: list[Path]) -> None:
        """Moves finished files (which lie in `work`) into the folder, `report.json` last, and clears the rest away.

        Only files of the run that is replaced are deleted; whatever else people put into the folder stays.
        """
        replaced = self.work / REPLACED
        with output_errors(self.path):
            if (self.path / FINISHED).exists():
                (self.path / FINISHED).replace(replaced)
            for name in _files_of(replaced) - {file.name for file in files}:
                (self.path / name).unlink(missing_ok=True)
            for file in sorted(files, key=lambda f: f.name == FINISHED):
                file.replace(self.path / file.name)
            shutil.rmtree(self.work, ignore_errors=True)


def require_writable(path: Path) -> None:
    """Refuses a place where no folder can be, or be written; changes nothing.

    Raises:
        OutputError: the sentence says why.
    """
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path}: is a file, and a run needs a folder. Choose another with -o.")
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not existing.is_dir():
        raise OutputError(f"{path}: cannot be made, because {existing} is a file. Choose another folder with -o.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: cannot be written (permission denied). Choose another folder with -o.")


def require_finished(run: Path) -> None:
    """Refuses a folder that is not a finished run.

    Raises:
        InvalidOption: there is no such folder.
        ModelFileError: it has no report.
    """
    if not run.is_dir():
        raise InvalidOption("verify", "RUN", "a run folder that exists", str(run), "Pass the folder given to -o.")
    if not (run / FINISHED).is_file():
        raise ModelFileError(f"{run}: is not a finished run (it has no {FINISHED}). Pass the folder given to -o.")


def _identity(options: RunOptions, source_sha256: str) -> str:
    """What makes a run this run: the model's bytes and the options that change what stages leave in `work`."""
    said: dict[str, Any] = {name: value for name, value in changed(options).items() if name not in DONE_ANEW}
    text = json.dumps([source_sha256, said], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest() + "\n"


def _is_report(path: Path) -> bool:
    """Whether the file is a report of ours, and not another program's report.json."""
    report = _json(path)
    return isinstance(report, dict) and "compressor_version" in report


def _files_of(report: Path) -> set[str]:
    """Names of the files of the finished run with this report; empty if there is no such report."""
    if not _is_report(report):
        return set()
    names = set(OUR_FILES)
    for file in _json(report).get("files", ()):
        names |= {Path(name).name for name in (file["name"], *file.get("companions", ()))}
    return names


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
