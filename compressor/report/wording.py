"""What the numbers say, as sentences. "Slower" and "no significant difference" are answers like "faster"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compressor.report.ladder_wording import shortfall_of
from compressor.report.schema import AccuracyRow, GroupRow, Ladder, LatencyRow, Report
from compressor.report.units import accuracy, ratios

FASTER, SLOWER = "faster", "slower"
AGREEMENT = "agreement"  # with the original's answers, where there are no labels

# What a target's result is called where there is room for one word or two, and for styling.
GOOD, BAD, NEUTRAL = "good", "bad", "neutral"


@dataclass(frozen=True)
class Speed:
    """One target's answer in words."""

    answer: str  # "1.42× faster", "takes 1.18× as long", "no significant difference"
    interval: str  # "95 % interval 1.38 to 1.45"
    tone: str  # GOOD, BAD or NEUTRAL


@dataclass(frozen=True)
class Loss:
    """What became of the accuracy, or of the agreement that stands in for it."""

    answer: str  # "0.72 points lost", "unknown"
    explanation: str
    tone: str
    measure: str = "accuracy"


@dataclass(frozen=True)
class Reason:
    """Blocked groups that share one reason."""

    reason: str
    groups: tuple[GroupRow, ...]

    @property
    def macs_share(self) -> float:
        """Of the whole model's MACs."""
        return sum(group.macs_share for group in self.groups)


def speed_of(row: LatencyRow) -> Speed:
    """The verdict of one target that was timed; a slower file gets the factor by which it takes longer."""
    if row.ratio is None or row.interval is None:
        return Speed("timed alone", "", NEUTRAL)
    low, high = row.interval
    if row.verdict == SLOWER and row.ratio > 0 and low > 0:
        ratio, longer, longest = ratios(1 / row.ratio, 1 / high, 1 / low)
        return Speed(f"takes {ratio}× as long", f"95 % interval {longer} to {longest}", BAD)
    ratio, lowest, highest = ratios(row.ratio, low, high)
    interval = f"95 % interval {lowest} to {highest}"
    if row.verdict == FASTER:
        return Speed(f"{ratio}× faster", interval, GOOD)
    return Speed(row.verdict or "no verdict", f"ratio {ratio}, {interval}", NEUTRAL)


def tone_of(verdict: str) -> str:
    """GOOD, BAD or NEUTRAL."""
    return {FASTER: GOOD, SLOWER: BAD}.get(verdict, NEUTRAL)


def timed(rows: Sequence[LatencyRow]) -> list[LatencyRow]:
    """The targets that gave a comparison."""
    return [row for row in rows if not row.unavailable and row.ratio is not None]


def speed_headline(rows: Sequence[LatencyRow]) -> Speed:
    """One line over all targets; `interval` is filled for a single one."""
    measured = timed(rows)
    if not measured:
        return Speed("Speed is unknown", "no target was timed", NEUTRAL)
    if len(measured) == 1:
        speed = speed_of(measured[0])
        return Speed(
            f"{speed.answer[:1].upper()}{speed.answer[1:]} on {measured[0].target}", speed.interval, speed.tone
        )
    n_faster = sum(row.verdict == FASTER for row in measured)
    n_slower = sum(row.verdict == SLOWER for row in measured)
    if n_faster == len(measured):
        low, high = ratios(*_extremes(measured))
        between = f"{low}×" if low == high else f"{low} to {high}×"
        return Speed(f"{between} faster on all {len(measured)} targets that were timed", "", GOOD)
    if n_slower == len(measured):
        return Speed(f"Slower on all {len(measured)} targets that were timed", "", BAD)
    if not n_faster:
        return Speed(
            f"Not faster on any of the {len(measured)} targets that were timed", "", BAD if n_slower else NEUTRAL
        )
    others = f", slower on {n_slower}" if n_slower else ""
    return Speed(f"Faster on {n_faster} of the {len(measured)} targets that were timed{others}", "", NEUTRAL)


def loss_of(rows: Sequence[AccuracyRow], ladder: Ladder | None = None) -> Loss:
    """First against last measured accuracy, which is the original's against the compressed model's."""
    if ladder is not None and ladder.measure == AGREEMENT:
        explanation = f"as the original on {ladder.n_images:,} images; accuracy is unknown, because they have no labels"
        return Loss(
            f"{accuracy(ladder.original_percent - ladder.drop_points)} the same answer", explanation, NEUTRAL, AGREEMENT
        )
    if not rows:
        return Loss("unknown", "no validation data was given", NEUTRAL)
    first, last = rows[0], rows[-1]
    images = f"{last.n_images:,} validation images"
    if len(rows) == 1:
        return Loss(
            "unknown",
            f"only one measurement: {stage_name(last.stage)}, {accuracy(last.top1_percent)} on {images}",
            NEUTRAL,
        )
    difference = last.top1_percent - first.top1_percent
    explanation = f"{accuracy(first.top1_percent)} → {accuracy(last.top1_percent)} on {images}"
    if round(difference, 2) == 0:
        return Loss("no change", explanation, NEUTRAL)
    word = "lost" if difference < 0 else "gained"
    return Loss(f"{abs(difference):.2f} points {word}", explanation, NEUTRAL if difference < 0 else GOOD)


def budget_of(report: Report) -> str:
    """What was asked for.

    >>> from types import SimpleNamespace
    >>> budget_of(SimpleNamespace(budget={"macs": 0.5}))
    'at most 50 % of the MACs'
    >>> budget_of(SimpleNamespace(budget={"speedup": 2.0})), budget_of(SimpleNamespace(budget={"latency": 0.005}))
    ('2 times as fast', 'at most 5 ms')
    >>> budget_of(SimpleNamespace(budget={"macs": 1.0}))
    'no channels cut'
    """
    if report.budget == {"macs": 1.0}:
        return "no channels cut"
    sentences = {
        "macs": ("at most {:g} % of the MACs", 100),
        "params": ("at most {:g} % of the parameters", 100),
        "ratio": ("{:g} % of the channels removed", 100),
        "speedup": ("{:g} times as fast", 1),
        "latency": ("at most {:g} ms", 1000),
    }
    asked = []
    for unit, value in report.budget.items():
        sentence, scale = sentences.get(unit, ("", 1))
        asked.append(sentence.format(value * scale) or f"{unit} {value:g}")
    return ", ".join(asked) or "none"


def problems_of(report: Report) -> list[str]:
    """What went wrong although there is a report, most important first; empty for a run that is simply done."""
    problems = []
    failed = sorted({row.file for row in report.parity if not row.passed})
    if failed:
        problems.append(f"Disagrees with the PyTorch module and should not be used: {', '.join(failed)}.")
    check = report.cut_check
    if check is not None and (check.max_rel_error is None or not check.max_rel_error <= check.tolerance):
        problems.append("Cutting the channels and masking them gave different outputs.")
    if not report.budget_met:
        problems.append(f"The budget was not met ({budget_of(report)}); this is the best result that was found.")
    if report.ladder is not None and not report.ladder.reached:
        problems.append(shortfall_of(report.ladder))
    if report.exit_code and not problems:
        problems.append(f"The run ended with exit code {report.exit_code}.")
    return problems


def stage_name(stage: str) -> str:
    """A stage as people call it; plug-ins keep their names.

    >>> stage_name("dense"), stage_name("cut"), stage_name("bn_reestimate")
    ('original', 'after the cut', 'bn_reestimate')
    """
    return {
        "dense": "original",
        "trained": "trained for the cut",
        "split": "with layers of low rank",
        "cut": "after the cut",
    }.get(stage, stage)


def reasons_of(groups: Sequence[GroupRow]) -> list[Reason]:
    """Blocked groups by reason, the one that costs the most MACs first."""
    by_reason: dict[str, list[GroupRow]] = {}
    for group in groups:
        if group.reason:
            by_reason.setdefault(group.reason, []).append(group)
    found = [Reason(reason, tuple(members)) for reason, members in by_reason.items()]
    return sorted(found, key=lambda reason: -reason.macs_share)


def _extremes(rows: Sequence[LatencyRow]) -> tuple[float, float]:
    found = [row.ratio for row in rows if row.ratio is not None]
    return min(found), max(found)
