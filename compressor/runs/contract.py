"""A budget in time: the widths at which the exported file is as fast as was asked for, found by measuring.

The models that are timed have the widths of a plan and the first channels of each group: which channels stay changes
what the model knows, not how long it takes. So nothing is chosen, checked or trained before the widths are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from compressor.core.errors import InvalidOption
from compressor.core.measurement import Measurement
from compressor.core.options import MEASURED, flag
from compressor.planning.budget import Budget
from compressor.planning.planner import Decision, Planner
from compressor.planning.seek import Trial, best, seek
from compressor.planning.widths import Widths
from compressor.profiling.machine import machine_facts
from compressor.profiling.statistics import Estimate, latency_of, ratio_of
from compressor.report.schema import SpeedSearch, TimedRow
from compressor.report.speed_wording import asked_for, measured, too_noisy, untold
from compressor.runs.bench import Bench, Effort
from compressor.runs.folder import RunFolder
from compressor.runs.processes import is_main_process, same_for_all
from compressor.runs.record import Record
from compressor.surgery.cut import cut_copy
from compressor.surgery.expand import expand

NARROWEST = 1e-9  # of the MACs: less than any model has
# Many models are compared, and the last one is timed again: most can be told with little, few need more.
SHORT, LONGER = Effort(4, 2.0), Effort(10, 12.0)


def meet(record: Record, planner: Planner, folder: RunFolder) -> Decision:
    """The decision whose file is as fast as was asked for; not `met` where none is, with a note that says why.

    Raises:
        InvalidOption: a target is not here, or reads none of the exported formats; the original is fast enough.
    """
    made = _search(record, planner, folder) if is_main_process() else None
    found = same_for_all(made, record.device)
    if found is None:
        raise RuntimeError("the main process searches")
    record.speed_search = found
    notes = [] if found.reached else [_shortfall(found, planner)]
    for sentence in notes:
        record.note(sentence)  # now, and not once channels have been chosen
    decision = planner.choose(planner.widths(Budget("macs", found.macs_share)), notes)
    return Decision(decision.keep, decision.remaining, found.reached, decision.notes)


def holds(record: Record, base: Measurement, compressed: Measurement) -> bool:
    """Whether these times keep the budget with their whole interval; True where the budget is no time."""
    unit, asked = record.options.budget
    return unit not in MEASURED or judged(unit, asked, base, compressed).low >= 1.0


def judge(record: Record) -> None:
    """The last word on a budget in time: the files that are handed over, on every target."""
    unit, asked = record.options.budget
    if unit not in MEASURED:
        return
    searched, record.budget_met = record.budget_met, bool(record.timings)
    for timing in record.timings:
        if timing.base is None or timing.compressed is None:
            record.budget_met = False
            continue
        row = _row(unit, asked, 0.0, timing.target, (timing.base, timing.compressed))
        record.budget_met = record.budget_met and row.holds
        doubt = untold(asked, row)
        if row.holds != searched or doubt:
            verdict = "holds" if row.holds else "cannot be told" if doubt else "does not hold"
            noise = f" {too_noisy(timing.compressed.machine)}" if doubt else ""
            told = f"{asked_for(unit, asked)} {verdict} for the files that were written: {measured(unit, row)}.{noise}"
            record.note(told)


def judged(unit: str, asked: float, base: Measurement, compressed: Measurement) -> Estimate:
    """Speed in units of what was asked for, with its 95 % interval: 1 is exactly that."""
    return _in_units(unit, asked, _row(unit, asked, 0.0, "", (base, compressed)))


@dataclass(frozen=True)
class Timed:
    """What the folder remembers of a model that was timed: one row a target."""

    rows: tuple[TimedRow, ...]


@dataclass(frozen=True)
class Original:
    """What the folder remembers of the original: its speed in units of what was asked for."""

    speed: float


def _search(record: Record, planner: Planner, folder: RunFolder) -> SpeedSearch:
    """An interrupted search goes on: what was timed leads the same way again."""
    unit, asked = record.options.budget
    bench = Bench(record, folder)
    known: dict[float, Timed] = {}  # by the share of MACs

    def measure(share: float) -> Trial:
        """Times the model that has at most this share of the MACs, on every target; the slowest one decides."""
        widths = planner.widths(Budget("macs", share))
        if widths.remaining in known:
            return Trial(widths.remaining, 0.0, 0.0)  # `seek` knows it already
        name = f"timed-{len(widths.n_keep)}-groups-{len(known)}"
        found = folder.remember(name, Timed, lambda: _timed(record, bench, widths))
        known[widths.remaining] = found
        for row in found.rows:
            record.progress.note(f"{row.macs_share:.1%} of the MACs: {measured(unit, row)}")
        speed = min((_in_units(unit, asked, row) for row in found.rows), key=lambda each: each.low)
        return Trial(widths.remaining, speed.value, speed.low)

    whole = folder.remember("timed-original", Original, lambda: Original(_whole_speed(record, bench)))
    trials = seek(measure, whole.speed, planner.widths(Budget("macs", NARROWEST)).remaining)
    found = best(trials)
    return SpeedSearch(
        unit, asked, tuple(row for each in known.values() for row in each.rows), found.share, found.holds
    )


def _whole_speed(record: Record, bench: Bench) -> float:
    """Of the original, in units of what was asked for: below 1."""
    unit, asked = record.options.budget
    if unit == "speedup":
        return 1 / asked
    slowest = max(latency_of(bench.original(name, SHORT)).value for name in bench.targets)
    if slowest <= asked:
        step = "Nothing has to be removed."
        allowed = f"below the original's {slowest * 1e3:.3g} ms"
        raise InvalidOption("compress", flag(unit), allowed, f"{asked * 1e3:g} ms", step)
    return asked / slowest


def _timed(record: Record, bench: Bench, widths: Widths) -> Timed:
    """Original and small model on every target; again, for longer, where the interval does not tell."""
    unit, asked = record.options.budget
    rows = []
    with bench.files_of(_small(record, widths)) as files:
        for name in bench.targets:
            for effort in (SHORT, Effort()):
                pair = bench.against_original(name, files, effort)
                speed = judged(unit, asked, *pair)
                if speed.low >= 1.0 or speed.value < 1.0:
                    break
            rows.append(_row(unit, asked, widths.remaining, name, pair))
    return Timed(tuple(rows))


def _small(record: Record, widths: Widths) -> nn.Module:
    if record.coverage is None:
        raise RuntimeError("coverage comes before the contract")
    keep: Mapping[str, Sequence[int]] = {name: range(count) for name, count in widths.n_keep.items()}
    module = record.source.module
    return cut_copy(module, *expand(record.coverage.groups, keep, module))


def _row(unit: str, asked: float, share: float, target: str, pair: tuple[Measurement, Measurement]) -> TimedRow:
    """What the budget names, a ratio or seconds, and whether all of its interval keeps it."""
    found = ratio_of(*pair) if unit == "speedup" else latency_of(pair[1])
    held = found.low >= asked if unit == "speedup" else found.high <= asked
    return TimedRow(share, target, found.value, (found.low, found.high), held)


def _in_units(unit: str, asked: float, row: TimedRow) -> Estimate:
    low, high = row.interval
    if unit == "speedup":
        return Estimate(row.value / asked, low / asked, high / asked)
    return Estimate(asked / row.value, asked / high, asked / low)


def _shortfall(found: SpeedSearch, planner: Planner) -> str:
    told = ", ".join(measured(found.unit, row) for row in found.rows if row.macs_share == found.macs_share)
    narrowest = planner.widths(Budget("macs", NARROWEST)).remaining
    reason = (
        "the narrowest model that the graph and --round-to allow"
        if found.macs_share <= narrowest
        else "the fastest of those that were timed"
    )
    asked = asked_for(found.unit, found.asked)
    if any(untold(found.asked, row) for row in found.rows if row.macs_share == found.macs_share):
        doubt = f"{asked} cannot be told to be reached: {told}, with {reason} ({found.macs_share:.1%} of the MACs)."
        return f"{doubt} {too_noisy(machine_facts())}"
    return f"{asked} was not reached: {told}, with {reason} ({found.macs_share:.1%} of the MACs)."
