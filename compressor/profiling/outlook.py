"""How much more timing it would take to tell two files apart, from the variance that was measured; or that none would.

The interval of a ratio has the half width t(0.975, n - 1) sqrt(V) in logarithms, where V is the variance of the
estimate from n processes. Processes are independent, so n' of them give V n / n'. The estimate itself will move: for it
to be clear of the edge four times out of five, the usual power of an experiment, t(0.8, n' - 1) sqrt(V n / n') comes on
top. Their sum must not exceed the gap

    |log ratio| - log 1.02    to settle a difference, where the ratio lies outside of what does not count
    log 1.02 - |log ratio|    to settle that there is none, where it lies inside

and the smallest such n' is the answer, if the true ratio is the one that was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy import special

from compressor.core.measurement import Measurement, Outlook
from compressor.profiling.statistics import CONFIDENCE, Estimate

MOST_PROCESSES = 1 << 20  # what takes more will never be told
_WITHIN = 0.5 + CONFIDENCE / 2
_POWER = 0.8
_HOUR_S = 3600.0
EQUAL = "equally fast"


def outlook(base: Measurement, compressed: Measurement, ratio: Estimate, floor: float) -> Outlook:
    """What more timing would settle.

    Args:
        base, compressed: the measurements, of at least two processes.
        ratio: theirs.
        floor: what does not count as a difference, as a share (0.02).
    """
    n = min(len(base.processes), len(compressed.processes))
    size, edge = abs(math.log(ratio.value)), math.log(1 + floor)
    deviation = _deviation(ratio, n)
    gap = abs(size - edge)
    needed = n if half_width_with(n, ratio, n) <= gap else _processes(deviation, gap, n)
    more = None if needed is None else needed - n
    seconds = None if more is None else more * _seconds_a_process(base, compressed)
    settles = EQUAL if size <= edge else "faster" if ratio.value > 1 else "slower"
    return Outlook(settles, more, seconds, _sentence(settles, more, seconds, n, floor))


def half_width_with(processes: int, ratio: Estimate, n: int) -> float:
    """Of the interval, in logarithms, if there had been as many processes instead of the `n` of this estimate."""
    return _quantile(processes, _WITHIN) * _deviation(ratio, n) / math.sqrt(processes)


def _deviation(ratio: Estimate, n: int) -> float:
    """Standard deviation of the estimate from one process, in logarithms."""
    half_width = (math.log(ratio.high) - math.log(ratio.low)) / 2
    return half_width / _quantile(n, _WITHIN) * math.sqrt(n)


def _quantile(n_processes: int, share: float) -> float:
    return float(special.stdtrit(n_processes - 1, share))  # Student's t


def _processes(deviation: float, gap: float, n: int) -> int | None:
    """The smallest number of processes above `n` that will probably do; None: too many."""

    def enough(processes: int) -> bool:
        return (_quantile(processes, _WITHIN) + _quantile(processes, _POWER)) * deviation / math.sqrt(processes) <= gap

    return _smallest(enough, n, MOST_PROCESSES)


def _smallest(holds: Callable[[int], bool], low: int, most: int) -> int | None:
    """The smallest number above `low`, where it does not hold, by bisection; None where it is above `most`."""
    high = 2 * low
    while not holds(high):
        low, high = high, 2 * high
        if low > most:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _seconds_a_process(base: Measurement, compressed: Measurement) -> float:
    """Of inference, warm-ups included; starting a process comes on top."""
    spent = sum(sum(process) for side in (base, compressed) for process in (*side.processes, *side.warmups))
    return spent / len(base.processes)


def _sentence(settles: str, more: int | None, seconds: float | None, n: int, floor: float) -> str:
    within = f"{floor:.0%}".replace("%", " %")
    if settles == EQUAL:
        nothing = f"The measured difference is within {within}, which does not count: no amount of timing"
        if more == 0:
            return f"{nothing} would tell these files apart. They are equally fast."
        if more is None or seconds is None:
            return f"{nothing} would tell these files apart."
        return (
            f"{nothing} would tell them apart while it stays so. To be sure of that takes {_amount(more, seconds, n)}."
        )
    if more is None or seconds is None:
        return (
            f"The machine is too noisy for this difference, which is hardly more than the {within} that do not count: "
            "no amount of timing that anybody would wait for would tell. Free the machine."
        )
    if more == 0:
        return ""
    advice = " Free the machine instead." if seconds > _HOUR_S else ""
    amount = _amount(more, seconds, n)
    return f"The machine is too noisy for this difference: {amount} would probably tell.{advice}"


def _amount(more: int, seconds: float, n: int) -> str:
    return f"about {more:,} more processes ({_time(seconds)} of sampling; compress profile --processes {n + more})"


def _time(seconds: float) -> str:
    if seconds < 1:
        return "under 1 s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * _HOUR_S else f"{seconds / _HOUR_S:.0f} h"
