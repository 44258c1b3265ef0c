"""Latencies into numbers that may be quoted, and two files' latencies into a ratio with an interval.

Inside a process the files take turns in bursts, and burst *i* of one file is set against burst *i* of the other, which
cancels what slows both (other programs, clock frequency).

    burst   median of its samples
    round   log(base burst / compressed burst)
    ratio   exp(interquartile mean of the rounds of all processes)

The interquartile mean leaves out the quarter of the rounds at either end, where another program hit one file only.

Samples of one process are not independent: memory layout, code alignment and the machine's mood are shared by all of
them. So the interval is a hierarchical bootstrap: processes are drawn with replacement, then the rounds inside each.
With few processes the spread of such estimates is too small by sqrt((n - 1) / n) and their quantiles are not normal.
So the bootstrap's standard error is widened by sqrt(n / (n - 1)) and multiplied by Student's t for n - 1 degrees of
freedom (Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician, 2015, section 3.1).
Drawing rounds on top of processes counts the noise within processes twice where it dominates: the interval then errs on
the wide side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from compressor.core.measurement import LatencyStats, Measurement

_RESAMPLES = 2000
CONFIDENCE = 0.95
_TRIM = 0.25  # share of the rounds that is left out at either end
_SEED = 0  # the same samples give the same interval


@dataclass(frozen=True)
class Estimate:
    """A ratio (base time over compressed time) or a time in seconds, and its 95 % interval."""

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


def ratio_of(base: Measurement, compressed: Measurement) -> Estimate:
    """The ratio of two measurements; paired round by round if they come from one session.

    With a single process there is nothing to tell luck from a difference between processes, and the interval, then made
    of rounds alone, is too narrow to base a verdict on.
    """
    bursts = _log_bursts(base), _log_bursts(compressed)
    generator = np.random.default_rng(_SEED)
    if in_one_session(base, compressed):
        n_rounds = min(side.shape[1] for side in bursts)
        rounds = bursts[0][:, :n_rounds] - bursts[1][:, :n_rounds]  # (n_processes, n_rounds)
        centre, variance = _location(rounds), _variance(rounds, generator)
        n_processes = len(rounds)
    else:
        centre = _location(bursts[0]) - _location(bursts[1])
        variance = sum(_variance(side, generator) for side in bursts)
        n_processes = min(len(side) for side in bursts)
    return _estimate(centre, variance, n_processes)


def latency_of(measurement: Measurement) -> Estimate:
    """Seconds per inference of one file, with an interval by the same rule as a ratio's."""
    bursts = _log_bursts(measurement)
    return _estimate(_location(bursts), _variance(bursts, np.random.default_rng(_SEED)), len(bursts))


def _estimate(centre: float, variance: float, n_processes: int) -> Estimate:
    """Of a logarithm and its variance."""
    quantile = special.stdtrit(max(1, n_processes - 1), 0.5 + CONFIDENCE / 2)  # Student's t
    half_width = quantile * np.sqrt(variance)
    return Estimate(*(float(np.exp(log)) for log in (centre, centre - half_width, centre + half_width)))


def in_one_session(base: Measurement, compressed: Measurement) -> bool:
    """Whether the two were timed in alternation, so that their bursts may be set against each other."""
    return (
        bool(base.session) and base.session == compressed.session and len(base.processes) == len(compressed.processes)
    )


def unsteadiness(measurement: Measurement) -> float:
    """Standard deviation of the bursts' medians over their mean; single late samples do not count."""
    medians = np.exp(_log_bursts(measurement))
    return float(medians.std() / medians.mean())


def _log_bursts(measurement: Measurement) -> np.ndarray:
    """The logarithm of each burst's median, (n_processes, n_rounds), as many rounds as the shortest process has."""
    size = measurement.burst_size
    n_rounds = max(1, min(len(samples) for samples in measurement.processes) // size)
    medians = [
        [np.median(samples[size * i : size * (i + 1)]) for i in range(n_rounds)] for samples in measurement.processes
    ]
    return np.log(medians)


def _location(rounds: np.ndarray) -> float:
    return float(_interquartile_mean(rounds.reshape(1, -1))[0])


def _interquartile_mean(rows: np.ndarray) -> np.ndarray:
    """Of each row: (n, n_rounds) -> (n,)."""
    from scipy import stats  # half a second to import, and only comparisons need it

    return stats.trim_mean(rows, _TRIM, axis=1)


def _variance(rounds: np.ndarray, generator: np.random.Generator) -> float:
    """Variance of `_location` by the hierarchical bootstrap; `rounds` is (n_processes, n_rounds)."""
    n, n_rounds = rounds.shape
    process = generator.integers(n, size=(_RESAMPLES, n, 1))
    drawn = rounds[process, generator.integers(n_rounds, size=(_RESAMPLES, n, n_rounds))]  # (resamples, n, n_rounds)
    locations = _interquartile_mean(drawn.reshape(_RESAMPLES, -1))
    widening = n / (n - 1) if n > 1 else 1.0
    return float(locations.var() * widening)
