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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from compressor.core import serial
from compressor.core.errors import OutputError
from compressor.core.files import output_errors, write_atomically
from compressor.core.options import RunOptions, changed

FINISHED = "report.json"
WORK = ".work"
OUR_FILES = ("model.", "plan.json", "measurements.json", "report.", "recipe.toml")
T = TypeVar("T")


@dataclass(frozen=True)
class RunFolder:
    """A claimed folder. `work` is where stages write."""

    path: Path

    @property
    def work(self) -> Path:
        """Where stages write; gone when the run is finished."""
        return self.path / WORK

    @classmethod
    def claim(cls, path: Path, options: RunOptions, source_sha256: str) -> RunFolder:
        """Takes the folder for this run, or goes on with the same run where it was interrupted.

        Raises:
            OutputError: it cannot be written, is not empty and not a run, holds a finished run (without `force`) or an
                interrupted run of another model or with other options.
        """
        folder = cls(path)
        identity = _identity(options, source_sha256)
        with output_errors(path):
            if path.exists() and not path.is_dir():
                raise OutputError(f"{path}: is a file, and a run needs a folder. Choose another with -o.")
            path.mkdir(parents=True, exist_ok=True)
            folder._refuse_strangers(options.force, identity)
            folder.work.mkdir(exist_ok=True)
            if not os.access(folder.work, os.W_OK):
                raise OutputError(f"{path}: cannot be written (permission denied). Choose another folder with -o.")
            write_atomically(folder.work / "identity.json", identity)
        return folder

    @classmethod
    def temporary(cls, path: Path) -> RunFolder:
        """A folder of our own for a run that is not (yet) to be kept; it goes when the process ends."""
        folder = cls(path)
        folder.work.mkdir(parents=True)
        atexit.register(shutil.rmtree, path, ignore_errors=True)
        return folder

    def _refuse_strangers(self, force: bool, identity: str) -> None:
        known = self.work / "identity.json"
        if force:
            shutil.rmtree(self.work, ignore_errors=True)
            return
        if known.exists() and known.read_text() != identity:
            raise OutputError(
                f"{self.path}: holds an interrupted run of another model or with other options. "
                "Choose another folder with -o, or start over with --force."
            )
        if (self.path / FINISHED).exists():
            raise OutputError(
                f"{self.path}: holds a finished run. Choose another folder with -o, or replace it with --force."
            )
        foreign = [p.name for p in self.path.iterdir() if p.name != WORK and not p.name.startswith(OUR_FILES)]
        if foreign:
            raise OutputError(
                f"{self.path}: is not empty (it holds {sorted(foreign)[0]}). Choose another folder with -o."
            )

    def remember(self, stage: str, kind: type[T], make: Callable[[], T]) -> T:
        """The value of a stage: read back if the run got that far before, else made and saved."""
        path = self.work / f"{stage}.json"
        if path.exists():
            return serial.load_json(kind, path)
        value = make()
        serial.save_json(value, path)
        return value

    def finish(self, files: list[Path]) -> None:
        """Moves finished files (which lie in `work`) into the folder, `report.json` last, and clears the rest away."""
        with output_errors(self.path):
            (self.path / FINISHED).unlink(missing_ok=True)
            for old in self.path.iterdir():
                if old.is_file() and old.name.startswith(OUR_FILES) and old.name not in {f.name for f in files}:
                    old.unlink()
            for file in sorted(files, key=lambda f: f.name == FINISHED):
                file.replace(self.path / file.name)
            shutil.rmtree(self.work, ignore_errors=True)


def _identity(options: RunOptions, source_sha256: str) -> str:
    """What makes a run this run: the model's bytes and the options that change the result."""
    said: dict[str, Any] = {name: value for name, value in changed(options).items() if name != "model"}
    text = json.dumps([source_sha256, said], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest() + "\n"
