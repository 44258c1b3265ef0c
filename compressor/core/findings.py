"""What the doctor says: causes for which an experiment was run, with what it measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One cause, of one layer or of the whole, with its evidence."""

    cause: str  # file name of the cause: "misaligned_widths"
    layer: str  # the user's module; empty: the whole model
    evidence: str  # a sentence with the numbers that were measured
    advice: str  # a sentence: what to do
    ratio: float | None = None  # as it is / as it could be, both timed in turns; above 1: it costs time
    interval: tuple[float, float] | None = None  # 95 %
    share: float | None = None  # of one inference's time that the finding is about


@dataclass(frozen=True)
class Diagnosis:
    """One file on one target, examined for every cause."""

    target: str
    file: str
    threads: int
    batch_size: int
    findings: tuple[Finding, ...]
    healthy: tuple[str, ...]  # causes that were looked for and not found
    skipped: dict[str, str]  # cause -> why it could not be looked for
    seconds: float  # that it took
    macs_ratio: float | None = None  # before / after, where there are two files
    time_ratio: float | None = None  # the same, of the measured times
