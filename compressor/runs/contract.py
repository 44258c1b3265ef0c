"""A budget in time: the widths at which the exported file is as fast as was asked for, found by measuring.

The models that are timed have the widths of a plan and the first channels of each group: which channels stay changes
what the model knows, not how long it takes. So nothing is chosen, checked or trained before the widths are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from compressor.core.errors import InvalidOption
from compressor.core.groups import Coverage
from compressor.core.measurement import Measurement
from compressor.core.options import MEASURED, flag
from compressor.planning.budget import Budget
from compressor.planning.planner import Decision, Planner
from compressor.planning.seek import Trial, best, seek
from compressor.planning.widths import Widths
from compressor.profiling.statistics import Estimate, latency_of, ratio_of
from compressor.runs.bench import Bench, Effort
from compressor.runs.folder import RunFolder
from compressor.runs.record import Record
from compressor.surgery.cut import cut_copy
from compressor.surgery.expand import expand

NARROWEST = 1e-9  # of the MACs: less than any model has
# Many models are compared, and the last one is timed again: most can be told with little, few need more.
SHORT, LONGER = Effort(4, 2.0), Effort(10, 12.0)


def judged(unit: str, asked: float, base: Measurement, compressed: Measurement) -> Estimate:
    """Speed in units of what was asked for, with its 95 % interval: 1 is exactly that."""
    if unit == "speedup":
        ratio = ratio_of(base, compressed)
        return Estimate(ratio.value / asked, ratio.low / asked, ratio.high / asked)
    time = latency_of(compressed)
    return Estimate(asked / time.value, asked / time.high, asked / time.low)


@dataclass
class _Search:
    """What was timed so far."""

    record: Record
    planner: Planner
    bench: Bench
    widths: dict[float, Widths] = field(default_factory=dict)  # by the share of MACs
    slowest: dict[float, str] = field(default_factory=dict)  # the target that decides, as a sentence

    def measure(self, share: float) -> Trial:
        """Times the model that has at most this share of the MACs, on every target; the slowest one decides."""
        found = self.planner.widths(Budget("macs", share))
        if found.remaining in self.widths:
            return Trial(found.remaining, 0.0, 0.0)  # `seek` knows it already
        self.widths[found.remaining] = found
        unit, asked = self.record.options.budget
        with self.bench.files_of(self._small(found)) as files:
            timed = {name: self.bench.against_original(name, files, SHORT) for name in self.bench.targets}
            for name, pair in timed.items():
                if judged(unit, asked, *pair).low < 1.0 <= judged(unit, asked, *pair).value:  # too short to tell
                    timed[name] = self.bench.against_original(name, files, Effort())
        speeds = {name: judged(unit, asked, *pair) for name, pair in timed.items()}
        name = min(speeds, key=lambda each: speeds[each].low)
        speed = speeds[name]
        told = told_of(unit, name, *timed[name])
        self.slowest[found.remaining] = told
        self.record.progress.note(f"{found.remaining:.1%} of the MACs: {told}")
        return Trial(found.remaining, speed.value, speed.low)

    def whole_speed(self) -> float:
        """Of the original, in units of what was asked for."""
        unit, asked = self.record.options.budget
        if unit == "speedup":
            return 1 / asked
        times = [latency_of(self.bench.original(name, SHORT)) for name in self.bench.targets]
        return asked / max(time.value for time in times)

    def _small(self, widths: Widths) -> nn.Module:
        coverage = _coverage(self.record)
        keep: Mapping[str, Sequence[int]] = {name: range(count) for name, count in widths.n_keep.items()}
        source = self.record.source
        return cut_copy(source.module, *expand(coverage.groups, keep, source.module))


def meet(record: Record, planner: Planner, folder: RunFolder) -> Decision:
    """The decision whose file is as fast as was asked for; not `met` where none is, with a note that says why.

    Raises:
        InvalidOption: a target is not here, or reads none of the exported formats; the original is fast enough.
    """
    unit, asked = record.options.budget
    search = _Search(record, planner, Bench(record, folder))
    whole = search.whole_speed()
    if whole >= 1.0:
        raise InvalidOption(
            "compress", flag(unit), "a time below the original's", f"{asked * 1e3:g} ms", "Nothing has to be removed."
        )
    narrowest = planner.widths(Budget("macs", NARROWEST)).remaining
    trials = seek(search.measure, whole, narrowest)
    found = best(trials)
    told = search.slowest[found.share]
    notes = [f"{len(trials)} models were timed; the one with {found.share:.1%} of the MACs: {told}."]
    if not found.holds:
        reason = (
            "that is the narrowest model that the graph and --round-to allow"
            if found.share <= narrowest
            else "the times do not differ surely enough, or the widths' steps are too coarse"
        )
        notes.append(f"{asked_for(unit, asked)} was not reached: {told}, and {reason}.")
    decision = planner.choose(search.widths[found.share], notes)
    return Decision(decision.keep, decision.remaining, found.holds, decision.notes)


def holds(record: Record, base: Measurement, compressed: Measurement) -> bool:
    """Whether these times keep the budget with their whole interval; True where the budget is no time."""
    unit, asked = record.options.budget
    return unit not in MEASURED or judged(unit, asked, base, compressed).low >= 1.0


def judge(record: Record) -> None:
    """The last word on a budget in time: the files that are handed over, on every target."""
    unit, asked = record.options.budget
    if unit not in MEASURED:
        return
    for timing in record.timings:
        if timing.base is None or timing.compressed is None:
            record.budget_met = False
        elif not holds(record, timing.base, timing.compressed):
            told = told_of(unit, timing.target, timing.base, timing.compressed)
            record.note(f"{asked_for(unit, asked)} does not hold for the files that were written: {told}.")
            record.budget_met = False


def asked_for(unit: str, asked: float) -> str:
    """As it is typed.

    >>> asked_for("speedup", 2.0), asked_for("latency", 0.005)
    ('--speedup 2x', '--latency 5ms')
    """
    return f"--speedup {asked:g}x" if unit == "speedup" else f"--latency {asked * 1e3:g}ms"


def told_of(unit: str, target: str, base: Measurement, compressed: Measurement) -> str:
    """What was measured, in the unit of the budget."""
    if unit == "speedup":
        ratio = ratio_of(base, compressed)
        return f"{ratio.value:.2f}x [{ratio.low:.2f}, {ratio.high:.2f}] on {target}"
    time = latency_of(compressed)
    return f"{time.value * 1e3:.3g} ms [{time.low * 1e3:.3g}, {time.high * 1e3:.3g}] on {target}"


def _coverage(record: Record) -> Coverage:
    if record.coverage is None:
        raise RuntimeError("coverage comes before the contract")
    return record.coverage
