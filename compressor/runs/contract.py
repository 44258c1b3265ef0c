"""A budget in time: the widths at which the exported file is as fast as was asked for, found by measuring.

Widths come from plans in measured time (`runs.tables`), or, where a target's tables cannot be made, from a share of the
multiply-accumulates. The models that are timed have the first channels of each group: which channels stay changes what
the model knows, not how long it takes. So nothing is chosen, checked or trained before the widths are known.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from compressor.core.errors import InvalidOption
from compressor.core.measurement import Measurement
from compressor.core.options import MEASURED, flag
from compressor.planning.planner import Decision, Planner
from compressor.planning.seek import Trial, best, seek
from compressor.planning.widths import Widths
from compressor.profiling.machine import machine_facts
from compressor.profiling.outlook import half_width_with
from compressor.profiling.statistics import Estimate, latency_of, ratio_of
from compressor.report.schema import SpeedSearch, TimedRow
from compressor.report.speed_wording import asked_for, measured, too_noisy, untold
from compressor.runs.bench import Bench, Effort
from compressor.runs.folder import RunFolder
from compressor.runs.processes import is_main_process, same_for_all
from compressor.runs.record import Record
from compressor.runs.sensitivity import Opinions
from compressor.runs.ways import Files, Ways, ways_to_widths

# Most models can be told with little, few need more. A trial that stays untold counts as too slow, and the search then
# ends with a narrower model than was asked for; so it may take minutes, as the last word may: files that are slow to
# load fit only a few times into less.
SEARCH = (Effort(4, 2.0), Effort(), Effort(10, 12.0), Effort(16, 30.0, max_seconds=150.0))
LAST_WORD = (Effort(), Effort(10, 12.0), Effort(16, 60.0, max_seconds=300.0))
NOISY = 0.1  # half of an interval, as a share: where the longest effort's would be wider, more timing does not help
ALMOST = 0.999  # of what was asked for: nearer cannot be told from it


def meet(record: Record, planner: Planner, folder: RunFolder, opinions: Opinions) -> Decision:
    """The decision whose file is as fast as was asked for; not `met` where none is, with a note that says why.

    Args:
        opinions: on what channels are worth; asked only where tables can be measured.

    Raises:
        InvalidOption: a target is not here, or reads none of the exported formats; the original is fast enough.
    """
    made = _search(record, planner, folder, opinions) if is_main_process() else None
    found = same_for_all(made, record.device)
    if found is None:
        raise RuntimeError("the main process searches")
    record.speed_search, widths = found.search, found.widths
    notes = [] if found.search.reached else [_shortfall(found)]
    for sentence in notes:
        record.note(sentence)  # now, and not once channels have been chosen
    decision = planner.choose(widths, notes)
    return Decision(decision.keep, decision.remaining, found.search.reached, decision.notes)


def tells(record: Record, base: Measurement, compressed: Measurement) -> bool:
    """Whether the whole interval keeps the budget, or the whole of it breaks it; True where the budget is no time."""
    unit, asked = record.options.budget
    if unit not in MEASURED:
        return True
    return _is_told(judged(unit, asked, base, compressed))


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
class AllChannels:
    """What the folder remembers of the model with all its channels: the original, or that with its layers split."""

    speed: float  # in units of what was asked for
    rows: tuple[TimedRow, ...] = ()  # how it was timed against the original; none where it is the original
    ratios: dict[str, float] = field(default_factory=dict)  # then by target, how many times as fast


@dataclass(frozen=True)
class Found:
    """The search, and the widths that it ended with."""

    search: SpeedSearch
    widths: Widths
    narrowest: bool  # nothing narrower is possible


def _search(record: Record, planner: Planner, folder: RunFolder, opinions: Opinions) -> Found:
    """An interrupted search goes on: what was timed leads the same way again."""
    unit, asked = record.options.budget
    bench = Bench(record, folder)
    # An interrupted run may go on with other targets, threads or batches; what was timed with these is no answer then.
    setting = f"{'-'.join(bench.targets).replace(':', '_')}-t{record.options.threads}-b{record.options.batch_size}"
    everything = planner.widths_of({group.name: group.n_channels for group in planner.groups})
    whole = folder.remember(f"timed-all-{setting}", AllChannels, lambda: _all_channels(record, bench, everything))
    if whole.rows and all(row.holds for row in whole.rows):  # thin layers are fast enough by themselves
        return Found(_told(record, whole.rows, everything, reached=True), everything, narrowest=False)
    ways = ways_to_widths(record, planner, bench, folder, opinions)
    known: dict[float, tuple[Widths, Timed]] = {}  # by share

    def measure(share: float) -> Trial:
        """Times the model that has at most this share, on every target; the slowest one decides."""
        own, widths = ways.widths(share)
        if own in known:
            return Trial(own, 0.0, 0.0)  # `seek` knows it already
        name = f"timed-{setting}-{_digest(widths)}"
        found = folder.remember(name, Timed, lambda: _timed(record, bench, ways, widths, whole))
        known[own] = widths, found
        for row in found.rows:
            record.progress.note(f"{row.macs_share:.1%} of the MACs: {measured(unit, row)}")
        speed = min((_in_units(unit, asked, row) for row in found.rows), key=lambda each: each.low)
        return Trial(own, speed.value, speed.low)

    start = min(whole.speed, ALMOST)
    trials = seek(measure, start, ways.narrowest, ways.first(start))
    found = best(trials)
    widths = known[found.share][0]
    rows = tuple(row for _, each in known.values() for row in each.rows)
    search = replace(_told(record, rows, widths, found.holds), tables=ways.tables)
    return Found(search, widths, found.share <= ways.narrowest)


def _told(record: Record, rows: tuple[TimedRow, ...], widths: Widths, reached: bool) -> SpeedSearch:
    return SpeedSearch(*record.options.budget, rows, _macs_share(record, widths), reached)


def _macs_share(record: Record, widths: Widths) -> float:
    """Of the original's, although widths are shares of the model whose layers were split."""
    if record.coverage is None:
        raise RuntimeError("coverage comes before widths")
    return widths.remaining * record.coverage.cost.macs / record.cost.macs


def _all_channels(record: Record, bench: Bench, everything: Widths) -> AllChannels:
    unit, asked = record.options.budget
    if record.whole is None:
        return AllChannels(_original_speed(record, bench))
    rows, ratios = [], {}
    share = _macs_share(record, everything)
    with bench.files_of(record.source.module) as files:
        for name, pair in _pairs(record, bench, files):
            rows.append(_row(unit, asked, share, name, pair))
            ratios[name] = ratio_of(*pair).value
    return AllChannels(min(_in_units(unit, asked, row).value for row in rows), tuple(rows), ratios)


def _original_speed(record: Record, bench: Bench) -> float:
    """In units of what was asked for: below 1."""
    unit, asked = record.options.budget
    if unit == "speedup":
        return 1 / asked
    slowest = max(latency_of(bench.original(name, SEARCH[0])).value for name in bench.targets)
    if slowest <= asked:
        step = "Nothing has to be removed."
        allowed = f"below the original's {slowest * 1e3:.3g} ms"
        raise InvalidOption("compress", flag(unit), allowed, f"{asked * 1e3:g} ms", step)
    return asked / slowest


def _timed(record: Record, bench: Bench, ways: Ways, widths: Widths, whole: AllChannels) -> Timed:
    """One model on every target, beside what was predicted."""
    unit, asked = record.options.budget
    rows = []
    with ways.files(widths) as files:
        for name, pair in _pairs(record, bench, files):
            row = _row(unit, asked, _macs_share(record, widths), name, pair)
            relative = ways.predicted(name, widths)
            if relative is not None:
                ratio = relative * whole.ratios.get(name, 1.0)
                row = replace(row, predicted=ratio if unit == "speedup" else latency_of(pair[0]).value / ratio)
            rows.append(row)
    return Timed(tuple(rows))


def _pairs(record: Record, bench: Bench, files: Files) -> Iterator[tuple[str, tuple[Measurement, Measurement]]]:
    """Original and small model on every target; again, for longer, where the interval does not tell but could."""
    unit, asked = record.options.budget
    for name in bench.targets:
        for effort in SEARCH:
            pair = bench.pair(name, files[name], effort)
            speed = judged(unit, asked, *pair)
            if _is_told(speed) or half_width_with(SEARCH[-1].processes, speed, len(pair[0].processes)) > NOISY:
                break
        yield name, pair


def _row(unit: str, asked: float, share: float, target: str, pair: tuple[Measurement, Measurement]) -> TimedRow:
    """What the budget names, a ratio or seconds, and whether all of its interval keeps it."""
    found = ratio_of(*pair) if unit == "speedup" else latency_of(pair[1])
    held = found.low >= asked if unit == "speedup" else found.high <= asked
    return TimedRow(share, target, found.value, (found.low, found.high), held)


def _is_told(speed: Estimate) -> bool:
    """Whether the whole interval keeps what was asked for, or the whole of it breaks it."""
    return speed.low >= 1.0 or speed.high < 1.0


def _in_units(unit: str, asked: float, row: TimedRow) -> Estimate:
    low, high = row.interval
    if unit == "speedup":
        return Estimate(row.value / asked, low / asked, high / asked)
    return Estimate(asked / row.value, asked / high, asked / low)


def _digest(widths: Widths) -> str:
    """Tables may have grown since an interrupted search: what was timed belongs to widths, not to their turn."""
    return hashlib.sha256(json.dumps(widths.n_keep, sort_keys=True).encode()).hexdigest()[:16]


def _shortfall(found: Found) -> str:
    search = found.search
    told = ", ".join(measured(search.unit, row) for row in search.rows if row.macs_share == search.macs_share)
    reason = (
        "the narrowest model that the graph and --round-to allow"
        if found.narrowest
        else "the fastest of those that were timed"
    )
    asked = asked_for(search.unit, search.asked)
    told += f", with {reason} ({search.macs_share:.1%} of the MACs)."
    if any(untold(search.asked, row) for row in search.rows if row.macs_share == search.macs_share):
        return f"{asked} cannot be told to be reached: {told} {too_noisy(machine_facts())}"
    return f"{asked} was not reached: {told}"
