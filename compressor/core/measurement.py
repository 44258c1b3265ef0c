"""What a timing is: raw samples and everything that must be equal before two of them may be compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class MachineFacts:
    """The machine as it was when the samples were taken."""

    cpu: str
    n_cores: int
    n_cores_usable: int  # by affinity and container limits
    memory_mib: int
    system: str
    python: str
    governor: str = ""  # CPU frequency governor; empty where the system does not tell
    load_1min: float = 0.0
    accelerators: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)  # of the libraries that matter


@dataclass(frozen=True)
class Measurement:
    """Seconds per inference of one file on one target. Statistics are computed from it, never stored in it."""

    target: str  # "onnxruntime:cpu"
    path: Path
    sha256: str
    batch_size: int
    threads: int
    processes: tuple[tuple[float, ...], ...]  # samples in seconds, one tuple a process, in the order taken
    warmups: tuple[tuple[float, ...], ...]  # the same for the inferences that do not count
    machine: MachineFacts
    details: dict[str, str] = field(default_factory=dict)  # what the target says of itself: provider, precision, ...
    burst_size: int = 1  # so many consecutive samples were taken back to back, then it was another file's turn
    session: str = ""  # equal for files that were timed in alternation in the same processes

    @property
    def samples_s(self) -> tuple[float, ...]:
        """Seconds per inference of all processes together, in the order taken."""
        return tuple(sample for process in self.processes for sample in process)


@dataclass(frozen=True)
class LatencyStats:
    """Computed from a measurement's samples; milliseconds."""

    n: int
    median_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    std_ms: float


@dataclass(frozen=True)
class Outlook:
    """What more timing would settle where a comparison has no verdict."""

    settles: str  # "faster", "slower" or "equally fast", if the ratio stays what it is
    more_processes: int | None  # beside those there are; 0: it is settled; None: no amount would
    more_seconds: float | None  # of sampling
    sentence: str


@dataclass(frozen=True)
class Comparison:
    """Base against compressed on one target; `ratio` is base time over compressed time, so above 1 is faster."""

    target: str
    base: LatencyStats
    compressed: LatencyStats
    ratio: float
    interval: tuple[float, float]  # 95 %, bootstrap
    verdict: str  # "faster", "slower" or "no significant difference"
    warnings: tuple[str, ...] = ()
    outlook: Outlook | None = None  # None where there is a verdict, or too few processes for one
