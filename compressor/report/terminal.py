"""What a run found, as tables for the terminal (see `console` for what they promise)."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from compressor.core.measurement import Comparison, Measurement
from compressor.report import (
    control_wording,
    ladder_wording,
    layers_terminal,
    low_rank_wording,
    speed_wording,
    units,
    wording,
)
from compressor.report.console import STYLES as _STYLES
from compressor.report.console import heading as _heading
from compressor.report.console import plural as _plural
from compressor.report.console import say as _say
from compressor.report.console import table as _table
from compressor.report.console import text as _text
from compressor.report.inspection import Inspection
from compressor.report.profile_rows import percentiles_ms
from compressor.report.schema import (
    AccuracyRow,
    Alternatives,
    Control,
    FileRow,
    GroupRow,
    Ladder,
    LatencyRow,
    LowRank,
    ParityRow,
    Report,
    SpeedSearch,
    StageRow,
)
from compressor.report.terminal_figures import print_figures

MAX_GROUPS, MAX_FACTS = 40, 4


def print_report(report: Report, console: Console) -> None:
    """The whole run, the answer last, where the eye is; only a control that makes it needless comes before all else."""
    if report.control is not None and report.control.finding:
        _say(console, f"Attention: {report.control.finding}", "red")
    print_coverage(report.groups, report.prunable_macs_share, console)
    if report.low_rank is not None:
        print_low_rank(report.low_rank, console)
    print_stages(report.stages, console)
    if report.files:
        print_files(report.files, console)
    if report.parity:
        print_parity(report.parity, console)
    if report.ladder is not None:
        print_ladder(report.ladder, console)
    elif report.accuracy:
        print_accuracy(report.accuracy, console)
    if report.speed_search is not None:
        print_speed_search(report.speed_search, console)
    if report.latency:
        print_latency(report.latency, console)
        print_figures(report.latency, console)
    if report.control is not None:
        print_control(report.control, console)
    if report.alternatives is not None:
        print_alternatives(report.alternatives, console)
    for diagnosis in report.doctor:
        layers_terminal.print_diagnosis(diagnosis, console)
    print_summary(report, console)


def print_summary(report: Report, console: Console) -> None:
    """Counts before and after, what was won, what was lost, and what to know."""
    _heading(console, "Result")
    if report.control is not None and report.control.finding:
        _say(console, f"Attention: {report.control.finding}", "red")
    table = _table("", "before>", "after>", "remains>")
    for name, shown, count in (
        ("MACs", units.count, report.macs),
        ("Parameters", units.count, report.params),
        ("Weights", units.size, report.weight_bytes),
    ):
        table.add_row(name, shown(count.before), shown(count.after), units.percent(count.share))
    console.print(table)
    console.print()
    speed, loss = wording.speed_headline(report.latency), wording.loss_of(report.accuracy, report.ladder)
    answer = speed.answer.removeprefix("Speed is ")
    _say(console, f"Speed: {_lower(answer)}{_after_comma(speed.interval)}.", _STYLES[speed.tone])
    measure = loss.measure.capitalize()
    _say(console, f"{measure} (top-1): {loss.answer}{_after_comma(loss.explanation)}.", _STYLES[loss.tone])
    _say(console, f"Asked for: {wording.budget_of(report)}{'' if report.budget_met else ', which was not met'}.")
    if report.ladder is not None:
        ladder = report.ladder
        _say(console, f"Asked for: {ladder_wording.asked_of(ladder)}: {ladder_wording.outcome_of(ladder)}.")
    for problem in wording.problems_of(report):
        _say(console, f"Attention: {problem}", "red")
    for note in report.notes:
        _say(console, f"Note: {note}")


def print_inspection(inspection: Inspection, console: Console) -> None:
    """A model before anything is cut: what it is called with, its counts, and the coverage."""
    _heading(console, "Model")
    _say(console, inspection.model)
    for name, shape in inspection.inputs.items():
        _say(console, f"Input {name}: {' x '.join(map(str, shape))}, from {inspection.inputs_from}.")
    counts = f"{units.count(inspection.macs)} MACs per input, {units.count(inspection.params)} parameters"
    _say(console, f"{counts}, {units.size(inspection.weight_bytes)} of weights.")
    print_coverage(inspection.groups, inspection.prunable_macs_share, console)


def print_coverage(groups: Sequence[GroupRow], prunable_macs_share: float, console: Console) -> None:
    """What may lose channels, and what may not and why. Of more than 40 groups, those with the most MACs are listed."""
    prunable = [group for group in groups if not group.reason]
    share, n_groups = units.percent(prunable_macs_share), _plural(len(prunable), "group")
    _heading(console, "Coverage")
    _say(console, f"{share} of the MACs are in layers that can lose channels ({n_groups}).")
    if prunable:
        cut = any(group.n_kept != group.n_channels for group in prunable)
        table = _table("group", "kind", "layers>", "channels>", *(["kept>"] if cut else []), "MACs>")
        listed = set(sorted(range(len(prunable)), key=lambda i: -prunable[i].macs_share)[:MAX_GROUPS])
        for group in (group for i, group in enumerate(prunable) if i in listed):
            kept = [str(group.n_kept)] if cut else []
            table.add_row(
                _text(group.name, console, 40),
                group.kind,
                str(group.layers),
                str(group.n_channels),
                *kept,
                units.percent(group.macs_share),
            )
        console.print(table)
        if len(prunable) > MAX_GROUPS:
            _say(console, f"and {_plural(len(prunable) - MAX_GROUPS, 'smaller group')}.")
    reasons = wording.reasons_of(groups)
    if reasons:
        _heading(console, "What stays whole, and why")
        table = _table("reason*", "groups", "MACs>")
        for reason in reasons:
            names = [group.name for group in reason.groups]
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            table.add_row(
                _text(reason.reason, console),
                _text(units.middle(names[0], 28) + more, console),
                units.percent(reason.macs_share),
            )
        console.print(table)
        if prunable_macs_share + sum(reason.macs_share for reason in reasons) > 1.005:
            _say(console, "More than 100 % together: a layer may keep its own channels and still lose inputs.")


def print_accuracy(rows: Sequence[AccuracyRow], console: Console) -> None:
    """Top-1 after each step, and the points against the first."""
    _heading(console, "Accuracy")
    table = _table("step", "top-1>", "points>", "images>")
    for i, row in enumerate(rows):
        points = units.points(row.top1_percent - rows[0].top1_percent) if i else ""
        table.add_row(
            _text(wording.stage_name(row.stage), console, 40),
            units.accuracy(row.top1_percent),
            _text(points, console),
            f"{row.n_images:,}",
        )
    console.print(table)


def print_ladder(ladder: Ladder, console: Console) -> None:
    """The rungs in the order in which they were tried: what each bought against the best before, and what it cost."""
    _heading(console, f"Recovery ladder ({ladder.measure})")
    table = _table("rung", "top-1>", "points>", "bought>", "time>", "kept")
    table.add_row(wording.stage_name("dense"), units.accuracy(ladder.original_percent), "", "", "", "")
    for row in ladder.rungs:
        if row.percent is not None:
            table.add_row(
                _text(wording.stage_name(row.name), console, 32),
                units.accuracy(row.percent),
                _text(ladder_wording.change_of(ladder.original_percent, row.percent), console),
                _text("" if row.bought_points is None else units.points(row.bought_points), console),
                units.seconds(row.seconds) if row.start else "",
                "yes" if row.kept else "no",
            )
    console.print(table)
    for row in ladder.rungs:
        if row.percent is None:
            _say(console, f"{row.name}: not applied. {row.reason}")


def print_speed_search(search: SpeedSearch, console: Console) -> None:
    """The models that were timed until one kept the budget in time."""
    _heading(console, f"On the way to {speed_wording.asked_for(search.unit, search.asked)}")
    table = _table("MACs>", "target", "predicted>", "measured>", "interval>", "kept", "taken")
    for row in search.rows:
        low, high = (speed_wording.quantity(search.unit, end) for end in row.interval)
        table.add_row(
            units.percent(row.macs_share),
            row.target,
            "" if row.predicted is None else speed_wording.quantity(search.unit, row.predicted),
            speed_wording.quantity(search.unit, row.value),
            f"{low} - {high}",
            "yes" if row.holds else "no",
            "yes" if row.macs_share == search.macs_share else "",
        )
    console.print(table)
    for found in search.tables:
        _say(console, speed_wording.tables(found))


def print_latency(
    rows: Sequence[LatencyRow], console: Console, names: tuple[str, str] = ("original", "compressed")
) -> None:
    """One comparison per target, as medians, ratio and interval; `names` are those of the two files."""
    first, second = (units.middle(name, 13) for name in names)
    compared = wording.timed(rows)
    if compared:
        _heading(console, "Latency (median; ratio with 95 % interval)")
        table = _table("target", f"{first}>", f"{second}>", "ratio>", "interval>", "verdict*")
        for row in compared:
            medians = [units.milliseconds(stats.median_ms) if stats else "" for stats in (row.base, row.compressed)]
            ratio, *interval = units.ratios(row.ratio or 0.0, *(row.interval or ()))
            verdict = _text(row.verdict, console, style=_STYLES[wording.tone_of(row.verdict)])
            table.add_row(_text(row.target, console, 18), *medians, f"{ratio}x", " - ".join(interval), verdict)
        console.print(table)
    for row in rows:
        if row not in compared:
            _say(console, f"{units.middle(row.target, 40)}: not timed. {row.unavailable}")
        for warning in row.warnings:
            _say(console, f"{units.middle(row.target, 40)}: {warning}")


def print_control(control: Control, console: Console) -> None:
    """The third arm: its counts, its accuracy, and its time against the other two."""
    _heading(console, f"Control: {units.middle(control.name, 60)}")
    if control.macs is not None and control.params is not None:
        _say(console, f"{units.count(control.macs)} MACs per input, {units.count(control.params)} parameters.")
    if control.description:
        _say(console, f"It is {control.description}.")
    _say(console, f"Accuracy (top-1): {control_wording.accuracy_of(control).rstrip('.')}.")
    timed = [timing for timing in control.timings if timing.stats is not None]
    if timed:
        _say(console, "How many times as fast it is as the original and as the compressed model:")
        table = _table("target", "median>", "original>", "compressed>", "interval>", "so it is*")
        for row in timed:
            both = [f"{units.ratios(ratio or 0.0)[0]}x" for ratio in (row.original_ratio, row.ratio)]
            median, interval = row.stats.median_ms if row.stats else 0.0, control_wording.interval(row.interval)
            verdict = _text(control_wording.shown(row.verdict), console)
            table.add_row(_text(row.target, console, 18), units.milliseconds(median), *both, interval, verdict)
        console.print(table)
    for row in control.timings:
        if row.stats is None:
            _say(console, f"{units.middle(row.target, 40)}: not timed. {row.unavailable}")


def print_low_rank(found: LowRank, console: Console) -> None:
    """Layers that could be split; of more than 40, those with the most MACs."""
    _heading(console, f"Low rank: {found.decomposition}")
    _say(console, low_rank_wording.summary_of(found))
    table = _table("layer", "rank>", "MACs>", "after>", "error>", "alone>", "so it was*")
    listed = set(sorted(range(len(found.rows)), key=lambda i: -found.rows[i].macs_before)[:MAX_GROUPS])
    for row in (row for i, row in enumerate(found.rows) if i in listed):
        table.add_row(
            _text(row.layer, console, 24),
            "x".join(map(str, row.ranks)),
            units.count(row.macs_before),
            units.count(row.macs_after),
            units.percent(row.relative_error) if row.ranks else "",
            "" if row.ratio is None else f"{units.ratios(row.ratio)[0]}x",
            _text("replaced" if row.kept else row.reason, console),
        )
    console.print(table)
    if len(found.rows) > MAX_GROUPS:
        _say(console, f"and {_plural(len(found.rows) - MAX_GROUPS, 'smaller layer')}.")


def print_alternatives(found: Alternatives, console: Console) -> None:
    """Low rank alone, pruning alone and both, as fast as each other."""
    _heading(console, f"Low rank, pruning or both, at one latency on {found.target}")
    table = _table("way", "ratio>", "interval>", "MACs>", "params>", "top-1>")
    for row in found.rows:
        if not row.unavailable:
            table.add_row(
                row.name,
                f"{units.ratios(row.ratio or 0.0)[0]}x",
                control_wording.interval(row.interval),
                units.percent(row.macs_share),
                units.percent(row.params_share),
                "unknown" if row.top1_percent is None else units.accuracy(row.top1_percent),
            )
    console.print(table)
    for row in found.rows:
        if row.unavailable:
            _say(console, f"{row.name} alone: {row.unavailable}")
    _say(console, f"{found.finding[:1].upper()}{found.finding[1:]}")


def print_measurements(
    measurements: Sequence[Measurement], comparisons: Sequence[Comparison], console: Console
) -> None:
    """Files timed on one target, and each but the first compared with the first, in the same order."""
    if not measurements:
        return
    first = measurements[0]
    threads = _plural(first.threads, "thread")
    _heading(console, f"Latency on {first.target}, batch {first.batch_size}, {threads}")
    table = _table("file", "median>", "p90>", "p99>", "samples>")
    for one in measurements:
        figures = [units.milliseconds(value) for value in percentiles_ms(one.samples_s, 50, 90, 99)]
        table.add_row(_text(str(one.path), console, 36), *figures, f"{len(one.samples_s):,}")
    console.print(table)
    if not comparisons:
        return
    _heading(console, f"Against {units.middle(str(first.path), 60)}")
    table = _table("file", "ratio>", "95 % interval>", "verdict")
    for one, comparison in zip(measurements[1:], comparisons, strict=True):
        ratio, low, high = units.ratios(comparison.ratio, *comparison.interval)
        style = _STYLES[wording.tone_of(comparison.verdict)]
        table.add_row(
            _text(str(one.path), console, 30),
            f"{ratio}x",
            f"{low} - {high}",
            _text(comparison.verdict, console, style=style),
        )
    console.print(table)
    for warning in dict.fromkeys(warning for comparison in comparisons for warning in comparison.warnings):
        _say(console, f"Note: {warning}")


def print_parity(rows: Sequence[ParityRow], console: Console) -> None:
    """Each comparison of a file with the PyTorch module."""
    _heading(console, "Files against the PyTorch module")
    table = _table("file", "inputs*", "batch>", "max error>", "relative>", "result")
    for row in rows:
        compared = row.batch_size > 0
        word = "agrees" if row.passed else "disagrees" if compared else "failed"
        figures = (
            [str(row.batch_size), _error(row.max_abs_error), _error(row.max_rel_error)] if compared else ["", "", ""]
        )
        result = _text(word, console, style=_STYLES[wording.GOOD if row.passed else wording.BAD])
        table.add_row(_text(row.file, console, 20), _text(row.inputs, console), *figures, result)
    console.print(table)


def print_files(rows: Sequence[FileRow], console: Console) -> None:
    """Files with their sizes; hashes stand in report.json."""
    _heading(console, "Files")
    table = _table("file", "format", "size>", "original>", "remains>")
    for row in rows:
        base = units.size(row.base_bytes) if row.base_bytes else ""
        share = units.percent(row.n_bytes / row.base_bytes) if row.base_bytes else ""
        table.add_row(
            _text(row.name, console, 28), _text(row.format, console, 14), units.size(row.n_bytes), base, share
        )
    console.print(table)


def print_stages(rows: Sequence[StageRow], console: Console) -> None:
    """How long each stage took, with its first facts; report.json has all of them."""
    if not rows:
        return
    _heading(console, "Stages")
    table = _table("stage", "time>", "facts*")
    for row in rows:
        facts = ", ".join(f"{key} {value}" for key, value in list(row.facts.items())[:MAX_FACTS])
        table.add_row(_text(row.name, console, 28), units.seconds(row.seconds), _text(facts, console, 100))
    console.print(table)


def _error(value: float | None) -> str:
    return "not finite" if value is None else units.error(value)


def _lower(sentence: str) -> str:
    return f"{sentence[:1].lower()}{sentence[1:]}"


def _after_comma(words: str) -> str:
    return f", {words}" if words else ""
