"""Latencies into numbers that may be quoted, and two files' latencies into a ratio with an interval.

Samples of one process are not independent: memory layout, code alignment and the machine's mood are shared by all of
them. So the unit is the process. Inside a process the files take turns in bursts, and burst *i* of one file is set
against burst *i* of the other, which cancels what slows both (other programs, clock frequency).

    burst      median of its samples
    round      log(base burst / compressed burst)
    process    median of its rounds
    ratio      exp(mean of the processes)

The interval is a hierarchical bootstrap: processes are drawn with replacement, then the rounds inside each. With few
processes the spread of bootstrap means is too small by sqrt((n - 1) / n) and their quantiles are not normal, so the
bootstrap's standard error is widened by sqrt(n / (n - 1)) and multiplied by Student's t for n - 1 degrees of freedom
(Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician, 2015, section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from compressor.core.measurement import LatencyStats, Measurement

_RESAMPLES = 2000
_CONFIDENCE = 0.95
_SEED = 0  # the same samples give the same interval


@dataclass(frozen=True)
class Ratio:
    """Base time over compressed time, and its 95 % interval."""

    value: float
    low: float
    high: float


def latency_stats(samples_s: Sequence[float]) -> LatencyStats:
    """Statistics of samples in seconds, in milliseconds; at least one sample.

    >>> latency_stats([0.001, 0.002, 0.003]).median_ms
    2.0
    """
    ms = np.asarray(samples_s, dtype=np.float64) * 1e3
    median, p90, p99 = np.percentile(ms, (50, 90, 99))
    return LatencyStats(len(ms), float(median), float(p90), float(p99), float(ms.mean()), float(ms.std()))


def ratio_of(base: Measurement, compressed: Measurement) -> Ratio:
    """The ratio of two measurements; paired round by round if they come from one session.

    With a single process there is nothing to tell luck from a difference between processes, and the interval, then made
    of rounds alone, is too narrow to base a verdict on.
    """
    base_rounds, compressed_rounds = _log_bursts(base), _log_bursts(compressed)
    generator = np.random.default_rng(_SEED)
    if in_one_session(base, compressed):
        pairs = [_paired(a, b) for a, b in zip(base_rounds, compressed_rounds, strict=True)]
        centre = float(np.mean([np.median(rounds) for rounds in pairs]))
        variance = _variance_of_mean(pairs, generator)
        n_processes = len(pairs)
    else:
        means = [float(np.mean([np.median(rounds) for rounds in side])) for side in (base_rounds, compressed_rounds)]
        centre = means[0] - means[1]
        variance = sum(_variance_of_mean(side, generator) for side in (base_rounds, compressed_rounds))
        n_processes = min(len(base_rounds), len(compressed_rounds))
    quantile = stats.t.ppf(0.5 + _CONFIDENCE / 2, df=max(1, n_processes - 1))
    half_width = float(quantile * np.sqrt(variance))
    return Ratio(*(float(np.exp(log)) for log in (centre, centre - half_width, centre + half_width)))


def in_one_session(base: Measurement, compressed: Measurement) -> bool:
    """Whether the two were timed in alternation, so that their bursts may be set against each other."""
    return (
        bool(base.session) and base.session == compressed.session and len(base.processes) == len(compressed.processes)
    )


def unsteadiness(measurement: Measurement) -> float:
    """Standard deviation of the bursts' medians over their mean; single late samples do not count."""
    medians = np.exp(np.concatenate(_log_bursts(measurement)))
    return float(medians.std() / medians.mean())


def _log_bursts(measurement: Measurement) -> list[np.ndarray]:
    """One array a process: the logarithm of each burst's median, (n_rounds,)."""
    size = measurement.burst_size
    processes = []
    for samples in measurement.processes:
        bursts = [samples[start : start + size] for start in range(0, len(samples), size)]
        processes.append(np.log([np.median(burst) for burst in bursts]))
    return processes


def _paired(base: np.ndarray, compressed: np.ndarray) -> np.ndarray:
    n = min(len(base), len(compressed))
    return base[:n] - compressed[:n]  # (n_rounds,)


def _variance_of_mean(processes: Sequence[np.ndarray], generator: np.random.Generator) -> float:
    """Variance of the mean over processes of each process's median round, by the hierarchical bootstrap."""
    n = len(processes)
    chosen = generator.integers(n, size=(_RESAMPLES, n))
    medians = np.empty((_RESAMPLES, n))
    for i, rounds in enumerate(processes):
        where = chosen == i
        drawn = generator.integers(len(rounds), size=(int(where.sum()), len(rounds)))
        medians[where] = np.median(rounds[drawn], axis=1)
    widening = n / (n - 1) if n > 1 else 1.0
    return float(medians.mean(axis=1).var() * widening)
