"""Where the marks of the page's charts go, as plain values.

Positions across are percent of the chart's width, so that a chart is as wide as its place and its text stays legible on
a phone; positions down are pixels. Axes of times and of widths begin at zero: distances mean what they look like.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from compressor.core.measurement import LatencyStats
from compressor.report.schema import LatencyRow, WidthRow

LANE_HEIGHT = 30.0  # pixels that the samples of one file are spread over
_EDGE = 97.0  # percent; marks at 100 would be cut in half
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Tick:
    """A labelled place on the axis."""

    x: float
    label: str


@dataclass(frozen=True)
class Lane:
    """The samples of one file."""

    label: str
    stats: LatencyStats
    median_x: float
    dots: tuple[tuple[float, float], ...]  # x, y
    n_beyond: int  # samples off the right edge


@dataclass(frozen=True)
class LatencyPlot:
    """One target: every sample of both files over one axis in milliseconds."""

    lanes: tuple[Lane, ...]
    ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class RatioMark:
    """One target's ratio and its interval."""

    target: str
    verdict: str
    x: float
    low_x: float
    high_x: float


@dataclass(frozen=True)
class RatioPlot:
    """Ratios of all targets on a logarithmic axis: twice as fast and half as fast are equally far from 1."""

    marks: tuple[RatioMark, ...]
    one_x: float
    ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class WidthBar:
    """One layer: across its place, upwards its channels before and after, in percent of the widest layer."""

    row: WidthRow
    x: float
    width: float
    before: float
    after: float


def latency_plot(row: LatencyRow) -> LatencyPlot | None:
    """None where the row has no samples. The axis ends in the slower file's tail; what lies beyond is counted."""
    arms = [("original", row.base, row.base_samples_ms), ("compressed", row.compressed, row.compressed_samples_ms)]
    drawn = [(label, stats, samples) for label, stats, samples in arms if stats is not None and samples]
    finite = [s for _, _, samples in drawn for s in samples if math.isfinite(s)]
    if not drawn or not finite:
        return None
    usual = max(min(1.1 * stats.p99_ms, 1.6 * stats.median_ms) for _, stats, _ in drawn)
    limit = (min(max(finite), usual) if usual > 0 else max(finite)) or 1.0
    lanes = [_lane(label, stats, samples, limit) for label, stats, samples in drawn]
    return LatencyPlot(tuple(lanes), tuple(Tick(_EDGE * t / limit, f"{t:g}") for t in nice_ticks(limit)))


def ratio_plot(rows: Sequence[LatencyRow]) -> RatioPlot | None:
    """None where no target has a finite ratio with a finite interval."""
    found = []
    for row in rows:
        if row.ratio is not None and row.interval is not None:
            values = (row.ratio, *row.interval)
            if all(math.isfinite(value) and value > 0 for value in values):
                found.append((row, [math.log2(value) for value in values]))
    if not found:
        return None
    logs = [log for _, values in found for log in values]
    low, high = min(*logs, -0.25), max(*logs, 0.25)
    pad = 0.06 * (high - low)
    low, high = low - pad, high + pad

    def place(log: float) -> float:
        return 100 * (log - low) / (high - low)

    marks = [RatioMark(row.target, row.verdict, place(m), place(a), place(b)) for row, (m, a, b) in found]
    ticks = [Tick(place(math.log2(value)), f"{value:g}×") for value in _ratio_ticks(2**low, 2**high)]
    return RatioPlot(tuple(marks), place(0.0), tuple(ticks))


def width_bars(rows: Sequence[WidthRow]) -> list[WidthBar]:
    """All layers side by side in the order of the network."""
    widest = max((row.before for row in rows), default=1) or 1
    step = 100 / len(rows) if rows else 0.0
    return [
        WidthBar(row, i * step, step * 0.8, 100 * row.before / widest, 100 * row.after / widest)
        for i, row in enumerate(rows)
    ]


def nice_ticks(limit: float, n: int = 5) -> list[float]:
    """About `n` round numbers from 0 up to `limit`.

    >>> nice_ticks(0.97)
    [0.0, 0.2, 0.4, 0.6, 0.8]
    """
    raw = limit / n
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    return [round(i * step, 12) for i in range(math.floor(limit / step * 1.000001) + 1)]


def _lane(label: str, stats: LatencyStats, samples: Sequence[float], limit: float) -> Lane:
    shown = [s for s in samples if s <= limit]  # also drops what is not a number
    # The golden ratio's multiples fill the lane evenly; unlike random numbers they give the same page every time.
    dots = tuple((_EDGE * s / limit, 2 + (LANE_HEIGHT - 4) * ((i * _GOLDEN) % 1)) for i, s in enumerate(shown))
    return Lane(label, stats, _EDGE * min(stats.median_ms, limit) / limit, dots, len(samples) - len(shown))


def _ratio_ticks(low: float, high: float) -> list[float]:
    fine = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4)
    middle = (0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0)
    coarse = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
    wide = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
    span = high / low
    candidates = fine if span < 1.6 else middle if span < 4 else coarse if span < 50 else wide
    return [tick for tick in candidates if low <= tick <= high]
