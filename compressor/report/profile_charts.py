"""Where the marks of a profile's charts go; see `charts` for the rules that they keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from compressor.core.measurement import Comparison
from compressor.report.charts import RatioPlot, Tick, nice_ticks, ratio_plot
from compressor.report.profile_rows import ProfileRow
from compressor.report.profile_wording import setting_of
from compressor.report.schema import LatencyRow

_EDGE = 97.0  # percent; a bar up to 100 would leave no place for its end


@dataclass(frozen=True)
class Bar:
    """One file in one setting."""

    row: ProfileRow
    width: float  # percent
    y: float  # pixels


@dataclass(frozen=True)
class Setting:
    """The files of one setting, below its name."""

    name: str
    y: float  # of the name's baseline, pixels
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class ThroughputPlot:
    """One target: a bar a file and setting over one axis of inputs per second."""

    target: str
    settings: tuple[Setting, ...]
    ticks: tuple[Tick, ...]
    height: float  # pixels, of the settings


NAME_HEIGHT, BAR_HEIGHT, BAR_STEP, GAP = 22.0, 20.0, 24.0, 10.0


def throughput_plots(rows: Sequence[ProfileRow]) -> list[ThroughputPlot]:
    """One a target, in their order; `rows` are those of one target after the other."""
    return [_throughput(target, list(mine)) for target, mine in groupby(rows, key=lambda row: row.target)]


def ratios_of(rows: Sequence[ProfileRow]) -> RatioPlot | None:
    """All comparisons on one logarithmic axis, each with its setting; None where there are none."""
    several_targets = len({row.target for row in rows}) > 1
    several_files = len({row.name for row in rows if not row.is_base}) > 1
    found = []
    for row in rows:
        if row.comparison is None:
            continue
        words = [setting_of(row.threads, row.batch_size)]
        words = [row.target, *words] if several_targets else words
        words = [row.name, *words] if several_files else words
        found.append(_as_latency(", ".join(words), row.comparison))
    return ratio_plot(found)


def _throughput(target: str, rows: Sequence[ProfileRow]) -> ThroughputPlot:
    limit = max(row.per_s for row in rows)
    settings, y = [], 0.0
    for (threads, batch_size), mine in groupby(rows, key=lambda row: (row.threads, row.batch_size)):
        name_y, y = y + NAME_HEIGHT - 7, y + NAME_HEIGHT
        bars = []
        for row in mine:
            bars.append(Bar(row, _EDGE * row.per_s / limit, y))
            y += BAR_STEP
        settings.append(Setting(setting_of(threads, batch_size), name_y, tuple(bars)))
        y += GAP
    ticks = tuple(Tick(_EDGE * value / limit, f"{value:g}") for value in nice_ticks(limit))
    return ThroughputPlot(target, tuple(settings), ticks, y)


def _as_latency(name: str, comparison: Comparison) -> LatencyRow:
    return LatencyRow(name, ratio=comparison.ratio, interval=comparison.interval, verdict=comparison.verdict)
