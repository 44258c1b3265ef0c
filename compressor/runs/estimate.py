"""What budget would have kept the drop, estimated from the one run that was made."""

from __future__ import annotations

import math

from compressor.core.options import MEASURED
from compressor.core.plan import PruningPlan
from compressor.runs.record import Record

# Shares are quotients of counts: what should be whole percents is not pushed to the next one by floating point.
WHOLE = 1e-9


def largest_budget(record: Record, drop: float) -> dict[str, float]:
    """The largest budget that would probably have kept the drop, in whole percent of the run's unit.

    Where that is a time, in percent of the MACs.

    On the parabola that starts flat at the original (nothing removed, no drop) and goes through this run (what it
    removed, its drop): a trained model stands at a minimum of its loss, from where the loss grows with the square.
    """
    plan, allowed = record.plan, record.options.max_drop
    if plan is None or allowed is None:
        raise RuntimeError("an estimate needs a plan and a drop")
    unit, _ = record.options.budget
    if unit in MEASURED:
        unit = "macs"
    may_leave = removed_share(plan, unit) * math.sqrt(allowed / drop)
    if unit == "ratio":
        return {unit: math.floor(100 * may_leave + WHOLE) / 100}
    return {unit: math.ceil(100 * (1 - may_leave) - WHOLE) / 100}


def removed_share(plan: PruningPlan, unit: str) -> float:
    """What the cut removed, as a share of the model's MACs, parameters or (of the groups') channels."""
    if unit == "ratio":
        kept = sum(len(group.keep) for group in plan.groups.values())
        return 1 - kept / sum(group.n_channels for group in plan.groups.values())
    before, after = plan.macs if unit == "macs" else plan.params
    return 1 - after / before
