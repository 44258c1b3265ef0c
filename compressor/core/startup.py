"""What a file costs beside its latency: raw figures of fresh processes that held that file alone."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class EnergySample:
    """What the machine's counters said while inferences ran back to back; of everything that ran meanwhile."""

    joules: float
    n_inferences: int
    seconds: float
    zones: tuple[str, ...]  # "package-0", "dram"


@dataclass(frozen=True)
class Start:
    """One fresh process: the runtime is set up, then the file is loaded, then it infers."""

    runtime_s: float  # until the runtime was ready for a file
    load_s: float  # from the file to a session, or a compiled model; the file's pages were in memory
    first_s: float  # the first inference
    runtime_bytes: int | None  # resident before the file was loaded; None where the system does not tell
    peak_bytes: int | None  # the most that was resident from there on, the runtime's included
    energy: EnergySample | None = None  # None where there are no counters


@dataclass(frozen=True)
class Startup:
    """One file on one target, started alone several times. What is computed from the starts is not stored."""

    target: str
    path: Path
    batch_size: int
    threads: int
    file_bytes: int  # with the files that belong to it (weights beside it)
    starts: tuple[Start, ...]  # at least one, in the order made

    @property
    def load_s(self) -> float:
        """Median."""
        return statistics.median(start.load_s for start in self.starts)

    @property
    def first_s(self) -> float:
        """Median of the first inferences."""
        return statistics.median(start.first_s for start in self.starts)

    @property
    def runtime_bytes(self) -> int | None:
        """Median of what the bare runtime takes; None where the system does not tell."""
        known = [start.runtime_bytes for start in self.starts if start.runtime_bytes is not None]
        return round(statistics.median(known)) if known else None

    @property
    def memory_bytes(self) -> int | None:
        """Median of the peak without the bare runtime: what the file, its inputs and its inference add to it."""
        known = [s.peak_bytes - s.runtime_bytes for s in self.starts if s.peak_bytes and s.runtime_bytes is not None]
        return round(statistics.median(known)) if known else None

    @property
    def energy_j(self) -> float | None:
        """Joules per inference over all starts; None without counters."""
        samples = [start.energy for start in self.starts if start.energy is not None]
        n_inferences = sum(sample.n_inferences for sample in samples)
        return sum(sample.joules for sample in samples) / n_inferences if n_inferences else None
