"""Two measurements into a verdict that somebody may act on."""

from __future__ import annotations

import math

from compressor.core.errors import IncomparableMeasurements
from compressor.core.measurement import Comparison, LatencyStats, Measurement
from compressor.profiling.outlook import outlook
from compressor.profiling.statistics import in_one_session, latency_stats, ratio_of, unsteadiness

FASTER, SLOWER, NO_DIFFERENCE = "faster", "slower", "no significant difference"

# Two loadings of one file can differ by this much for reasons that no user can act on (alignment, memory layout).
FLOOR = 0.02
# With fewer processes the interval stands on next to nothing.
MIN_PROCESSES_FOR_VERDICT = 3

_SHORT_MS = 0.02  # calling the runtime from Python takes about a microsecond: 5 % of this
_UNSTABLE = 0.10  # standard deviation of the bursts over their mean
_WIDE = 0.10  # interval's width over the ratio
_MACHINE_KEYS = ("cpu", "n_cores", "n_cores_usable", "memory_mib", "system", "governor", "accelerators")


def compare(base: Measurement, compressed: Measurement) -> Comparison:
    """Base against compressed: ratio of their times, its 95 % interval, and a verdict.

    "faster" means that the whole interval lies above 1.02, "slower" that it lies below 1/1.02. All else, and whatever
    cannot be computed, is "no significant difference".

    Raises:
        IncomparableMeasurements: machine, target, batch size, threads or what really ran differ, or samples
            are missing.
    """
    _check_comparable(base, compressed)
    base_stats, compressed_stats = latency_stats(base.samples_s), latency_stats(compressed.samples_s)
    ratio = ratio_of(base, compressed)
    warnings = _warnings(base, compressed, base_stats, compressed_stats)
    verdict, ahead = NO_DIFFERENCE, None
    if min(len(base.processes), len(compressed.processes)) < MIN_PROCESSES_FOR_VERDICT:
        warnings.append(
            f"A verdict needs samples from at least {MIN_PROCESSES_FOR_VERDICT} processes. Time it with more."
        )
    elif ratio.low > 1 + FLOOR:
        verdict = FASTER
    elif ratio.high < 1 / (1 + FLOOR):
        verdict = SLOWER
    else:
        ahead = outlook(base, compressed, ratio, FLOOR)
        if ahead.sentence:
            warnings.insert(0, ahead.sentence)
    if ratio.high - ratio.low > _WIDE * ratio.value:
        warnings.append("The interval is wider than 10 % of the ratio. Free the machine, or time for longer.")
    return Comparison(
        target=base.target,
        base=base_stats,
        compressed=compressed_stats,
        ratio=ratio.value,
        interval=(ratio.low, ratio.high),
        verdict=verdict,
        warnings=tuple(warnings),
        outlook=ahead,
    )


def _check_comparable(base: Measurement, compressed: Measurement) -> None:
    pairs: dict[str, tuple[object, object]] = {
        "target": (base.target, compressed.target),
        "batch_size": (base.batch_size, compressed.batch_size),
        "threads": (base.threads, compressed.threads),
    }
    pairs |= {f"machine.{key}": (getattr(base.machine, key), getattr(compressed.machine, key)) for key in _MACHINE_KEYS}
    keys = dict.fromkeys([*base.details, *compressed.details])
    pairs |= {f"details.{key}": (base.details.get(key), compressed.details.get(key)) for key in keys}
    for key, (one, other) in pairs.items():
        if one != other:
            raise IncomparableMeasurements(
                f"compare: `{key}` must be the same in both measurements, but got {one!r} and {other!r}. "
                "Time both files in one run on one machine."
            )
    for measurement in (base, compressed):
        usable = bool(measurement.processes) and all(
            process and all(math.isfinite(sample) and sample > 0 for sample in process)
            for process in measurement.processes
        )
        if not usable or measurement.burst_size < 1:
            raise IncomparableMeasurements(
                f"compare: every process of {measurement.path} must hold samples above 0 s, but one does not. "
                "Time it again."
            )


def _warnings(base: Measurement, compressed: Measurement, *both: LatencyStats) -> list[str]:
    """What makes the figures less sure, each with what to do about it."""
    found = []
    if not in_one_session(base, compressed):
        found.append("The files were not timed in alternation, so drift counts as difference. Time them in one run.")
    if max(unsteadiness(base), unsteadiness(compressed)) >= _UNSTABLE:
        found.append("The times vary by 10 % or more. Close other programs, or time for longer.")
    if any(s.median_ms < _SHORT_MS for s in both):
        found.append("One inference is so short that the call itself counts. Use a larger batch.")
    machine = base.machine
    if machine.load_1min + base.threads > machine.n_cores:
        found.append(
            f"The machine was busy (load {machine.load_1min:.1f} on {machine.n_cores} cores). Time it when it is idle."
        )
    if base.threads > machine.n_cores_usable:
        found.append(f"{base.threads} threads share {machine.n_cores_usable} usable cores. Use fewer threads.")
    if machine.governor not in ("", "performance"):
        found.append(f"The CPU governor is '{machine.governor}'. Set it to 'performance' for steadier times.")
    return found
