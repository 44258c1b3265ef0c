"""The share at which a measured speed is reached: a search by measuring, not by predicting.

The share is of the multiply-accumulates, or of the time that latency tables predict. Time falls with it, but neither
in proportion nor smoothly, and each measurement has an interval. So the next share is interpolated between the
nearest that was too slow and the nearest that was fast enough, on logarithmic axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

AIM = 1.03  # times what was asked for, so that the interval may lie above it
CLOSE = 1.06  # near enough to stop
MAX_TRIALS = 8
SAME = 0.005  # shares that are this near are one
SHALLOWEST = 0.2  # d log(speed) / d log(share) that is believed beyond what was measured, at least


@dataclass(frozen=True)
class Trial:
    """What one share gave. `speed` is in units of what was asked for: 1 is exactly that."""

    share: float  # that remains
    speed: float
    low: float  # lower end of its 95 % interval

    @property
    def holds(self) -> bool:
        """Whether the whole interval is at least what was asked for."""
        return self.low >= 1.0


def seek(
    measure: Callable[[float], Trial], whole_speed: float, narrowest: float, first: float | None = None
) -> list[Trial]:
    """Trials in the order in which they were made; `best` chooses.

    Args:
        measure: of a share; the trial's own share is at most that one, since widths come in steps.
        whole_speed: of the whole model, in units of what was asked for; below 1.
        narrowest: share of the narrowest model that there can be.
        first: share to begin with; None: the one at which speed would be reached if it rose as the share falls.
    """
    trials: list[Trial] = []
    slow, fast = Trial(1.0, whole_speed, whole_speed), None
    share = _within(whole_speed if first is None else first, narrowest, 0.95)
    while len(trials) < MAX_TRIALS:
        trial = measure(share)
        if any(trial.share == earlier.share for earlier in trials):
            break  # nothing lies between
        trials.append(trial)
        if trial.holds:
            fast = trial
            if trial.speed <= CLOSE:
                break
        else:
            slow = trial
            if trial.share <= narrowest * (1 + SAME):
                break
        if fast is None and len(trials) >= MAX_TRIALS - 2:
            share = narrowest  # nobody says that it cannot be reached before that was tried
        else:
            share = _between(slow, fast) if fast else _beyond(slow, whole_speed, narrowest)
        if fast and (share - fast.share) / fast.share < SAME:
            break
    return trials


def best(trials: list[Trial]) -> Trial:
    """Of those that hold the slowest, which has lost least; else the fastest."""
    holding = [trial for trial in trials if trial.holds]
    return min(holding, key=lambda t: t.speed) if holding else max(trials, key=lambda t: t.speed)


def _between(slow: Trial, fast: Trial) -> float:
    span = math.log(fast.speed / slow.speed) if fast.speed > slow.speed else 0.0
    part = math.log(AIM / slow.speed) / span if span > 0 else 0.5
    return slow.share * (fast.share / slow.share) ** _within(part, 0.15, 0.85)


def _beyond(slow: Trial, whole_speed: float, narrowest: float) -> float:
    """Where the line through the whole model and this trial meets the aim."""
    slope = math.log(slow.speed / whole_speed) / -math.log(slow.share) if slow.share < 1 else 0.0
    share = slow.share * (AIM / max(slow.speed, 1e-9)) ** (-1 / max(slope, SHALLOWEST))
    return _within(share, max(narrowest, 0.3 * slow.share), 0.95 * slow.share)


def _within(value: float, least: float, most: float) -> float:
    return max(least, min(value, most))
