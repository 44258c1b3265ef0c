"""Tables on disk: what was measured once on this machine need not be measured again, whichever run or model asks.

    CACHE/latency/<machine and runtime>/<target, threads, batch>/<model>.json

A model's file holds its samples in the order in which they were taken. It is replaced whole, under a lock, and only by
one with more samples, so several runs may work at once. A file that cannot be read is set aside and measured anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from compressor.core.errors import ModelFileError, OutputError
from compressor.core.measurement import MachineFacts
from compressor.core.serial import load_json, save_json
from compressor.latency.samples import ModelSample, NodeSample

FOLDER_VARIABLE = "COMPRESSOR_CACHE"
TABLE_FORMAT = 2  # 1: whole models were timed under the profiler
# What decides how fast the same work is done; load and governor come and go.
_MACHINE = ("cpu", "n_cores", "n_cores_usable", "memory_mib", "system", "accelerators")
MOST_OTHERS = 40  # tables of other models that are read: the newest


@dataclass(frozen=True)
class Place:
    """Where samples hold: they mean nothing on another machine, runtime, thread count or batch."""

    machine: dict[str, str]
    target: str
    details: dict[str, str]  # what really runs: version, precision, ...
    threads: int
    batch_size: int


@dataclass(frozen=True)
class Table:
    """One model's samples."""

    place: Place
    model: str  # hash of its graph and grids
    samples: tuple[ModelSample, ...]
    format: int = TABLE_FORMAT


def place_of(machine: MachineFacts, target: str, details: dict[str, str], threads: int, batch_size: int) -> Place:
    """The facts that must be equal before a table may be used."""
    facts = {key: str(value) for key, value in asdict(machine).items() if key in _MACHINE}
    return Place(facts, target, dict(details), threads, batch_size)


def cache_folder() -> Path:
    """$COMPRESSOR_CACHE, or the user's cache folder."""
    return Path(os.environ.get(FOLDER_VARIABLE) or user_cache_path("compressor"))


class Store:
    """The tables of one place."""

    def __init__(self, place: Place, note: Callable[[str], None], root: Path | None = None) -> None:
        self._place, self._note = place, note
        base = (root or cache_folder()) / "latency"
        self._here = base / _short(f"{place.machine}{place.details}")
        self._folder = self._here / f"{place.target.replace(':', '_')}-t{place.threads}-b{place.batch_size}"
        self._base = base

    def samples(self, model: str) -> tuple[ModelSample, ...]:
        """This model's; empty where there are none."""
        table = self._read(self._path(model))
        if table is None:
            self._say_what_is_not_used(model)
            return ()
        return table.samples

    def others(self, model: str) -> list[NodeSample]:
        """Nodes of other models that were timed in this place."""
        if not self._folder.is_dir():
            return []
        paths = [path for path in self._folder.glob("*.json") if path != self._path(model)]
        newest = sorted(paths, key=_age, reverse=True)[:MOST_OTHERS]
        tables = [self._read(path) for path in newest]
        return [node for table in tables if table for sample in table.samples for node in sample.nodes]

    def save(self, model: str, samples: tuple[ModelSample, ...]) -> None:
        """Keeps them, unless another run has kept more. A cache that cannot be written is no reason to stop."""
        path = self._path(model)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock"), timeout=20):
                known = self._read(path)
                if known is None or len(known.samples) < len(samples):
                    save_json(Table(self._place, model, samples), path)
        except (OSError, OutputError, NotImplementedError) as error:  # file systems without locks are not implemented
            self._note(
                f"Latency tables could not be kept in {path.parent} ({error}); they are measured again next time."
            )

    def _path(self, model: str) -> Path:
        return self._folder / f"{model}.json"

    def _read(self, path: Path) -> Table | None:
        """None where there is none, or one that cannot be used; a damaged one is set aside."""
        try:
            table = load_json(Table, path)
        except FileNotFoundError:
            return None
        except (ModelFileError, OSError, UnicodeDecodeError):
            self._note(f"The latency table {path.name} is damaged and was set aside; it is measured anew.")
            self._set_aside(path)
            return None
        return table if table.format == TABLE_FORMAT and table.place == self._place else None

    def _set_aside(self, path: Path) -> None:
        try:
            path.replace(path.with_suffix(".damaged"))
        except OSError:
            return

    def _say_what_is_not_used(self, model: str) -> None:
        foreign = [
            path for path in self._base.glob(f"*/{self._folder.name}/{model}.json") if self._here not in path.parents
        ]
        if foreign:
            self._note(
                "Latency tables of this model from another machine or runtime version are not used "
                f"({len(foreign)} are there)."
            )


def _age(path: Path) -> float:
    """Seconds since 1970; 0 where another run has just taken the file away."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
