"""Layer tables and the doctor's findings, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from compressor.core.findings import Diagnosis
from compressor.core.layers import LayerCost, LayerTable
from compressor.report import doctor_wording, units
from compressor.report.console import heading as _heading
from compressor.report.console import say as _say
from compressor.report.console import table as _table
from compressor.report.console import text as _text

MAX_LAYERS = 40
_MIDDLE = 24  # letters of a layer's name


def print_layers(tables: Sequence[LayerTable], console: Console, limit: int = MAX_LAYERS) -> None:
    """Per target the layers that take longest, in the order of execution."""
    for table in tables:
        _heading(console, f"Layers on {table.target}")
        pair = len(table.files) > 1
        columns = ["before>", "after>"] if pair else ["ms>"]
        shown = _table("layer", *columns, "share>", "MACs>", "bytes>", "peak>", "memory>")
        latest = [(row, (row.after if pair else row.before)) for row in table.rows]
        longest = sorted(latest, key=lambda pair_: -max(_seconds(pair_[0].before), _seconds(pair_[0].after)))[:limit]
        kept = {id(row) for row, _ in longest}
        for row, cost in latest:
            if id(row) not in kept:
                continue
            times = [_milliseconds(row.before), _milliseconds(row.after)] if pair else [_milliseconds(row.before)]
            facts = _facts(cost) if cost is not None else [""] * 5
            shown.add_row(_text(row.layer, console, _MIDDLE), *times, *facts)
        console.print(shown)
        _say(console, "Times are milliseconds while profiling; memory is the share of the measured bandwidth.")
        if len(table.rows) > limit:
            _say(console, f"The {limit} of {len(table.rows)} layers that take longest.")
        _say(
            console,
            f"Measured here with {table.threads} thread{'' if table.threads == 1 else 's'}: peak "
            f"{table.macs_per_s / 1e9:.3g} GMAC/s, bandwidth {table.bytes_per_s / 1e9:.3g} GB/s, "
            f"{table.operator_s * 1e6:.2g} us for an operator that does nothing. Above 100 %: from a cache.",
        )


def print_diagnosis(diagnosis: Diagnosis, console: Console) -> None:
    """Findings, the largest first, each with what to do; then what was not found, or not looked for."""
    _heading(console, "Doctor")
    _say(console, doctor_wording.opening_of(diagnosis))
    for finding in diagnosis.findings:
        where = f" ({finding.layer})" if finding.layer else ""
        _say(console, f"{doctor_wording.cause_name(finding.cause).capitalize()}{where}: {finding.evidence}", "red")
        timed = doctor_wording.measured(finding)
        if timed:
            _say(console, f"    {timed}.")
        _say(console, f"    What to do: {finding.advice}")
    if not diagnosis.findings:
        _say(console, "Nothing was found that slows it.", "green")
    if diagnosis.healthy:
        _say(console, doctor_wording.closing_of(diagnosis))
    for cause, reason in diagnosis.skipped.items():
        _say(console, f"Not looked for: {doctor_wording.cause_name(cause)}. {reason}")


def _seconds(cost: LayerCost | None) -> float:
    return cost.seconds if cost is not None else 0.0


def _milliseconds(cost: LayerCost | None) -> str:
    return f"{1000 * cost.seconds:.3f}" if cost is not None else "-"


def _facts(cost: LayerCost) -> list[str]:
    return [
        _percent(cost.share),
        units.count(cost.macs) if cost.macs else "",
        units.size(cost.n_bytes) if cost.n_bytes else "",
        _percent(cost.of_peak) if cost.macs else "",
        _percent(cost.of_bandwidth) if cost.n_bytes else "",
    ]


def _percent(share: float) -> str:
    """Short, for many columns."""
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.1f} %"
