"""What MLPerf's LoadGen found on one file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

SINGLE_STREAM, OFFLINE = "SingleStream", "Offline"


@dataclass(frozen=True)
class Scenario:
    """One file on one target under LoadGen's rules, with a shorter minimum than a submission needs.

    `results` holds what LoadGen wrote of itself, under its own names: percentiles in nanoseconds, its early-stopping
    estimates, what made the run valid.
    """

    scenario: str  # SINGLE_STREAM or OFFLINE
    target: str
    path: Path
    batch_size: int  # inputs per inference; a single-stream query is one input
    threads: int
    min_seconds: float  # that LoadGen was told to run for at least
    valid: bool  # LoadGen's own word
    value: float  # milliseconds at the 90th percentile (early stopping), or samples per second
    unit: str
    n_samples: int
    loadgen_version: str
    results: dict[str, float | bool | str] = field(default_factory=dict)
