from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.core.measurement import LatencyStats
from compressor.report.charts import LANE_HEIGHT, latency_plot, nice_ticks, ratio_plot, width_bars
from compressor.report.schema import LatencyRow, Report, WidthRow


def stats(median: float, p99: float) -> LatencyStats:
    return LatencyStats(4, median, median, p99, median, 0.0)


def test_twice_the_time_is_twice_the_distance() -> None:
    row = LatencyRow(
        "t",
        base=stats(4.0, 4.4),
        compressed=stats(2.0, 2.2),
        base_samples_ms=(4.0, 4.4),
        compressed_samples_ms=(2.0, 2.2),
    )
    plot = latency_plot(row)
    assert plot is not None
    base, compressed = plot.lanes
    assert base.median_x == pytest.approx(2 * compressed.median_x)
    assert base.dots[0][0] == pytest.approx(base.median_x)
    assert plot.ticks[0].x == 0


def test_late_samples_are_counted_not_drawn() -> None:
    row = LatencyRow(
        "t",
        base=stats(1.0, 1.1),
        compressed=stats(1.0, 1.1),
        base_samples_ms=(1.0, 1.1, 900.0, float("inf"), float("nan")),
        compressed_samples_ms=(1.0,),
    )
    plot = latency_plot(row)
    assert plot is not None
    assert [lane.n_beyond for lane in plot.lanes] == [3, 0]
    assert len(plot.lanes[0].dots) == 2


def test_nothing_to_draw() -> None:
    assert latency_plot(LatencyRow("t", unavailable="no")) is None
    assert ratio_plot([LatencyRow("t", unavailable="no")]) is None
    assert ratio_plot([LatencyRow("t", ratio=float("nan"), interval=(float("nan"), float("nan")))]) is None
    assert width_bars([]) == []


@given(
    st.lists(st.floats(min_value=1e-6, max_value=1e6), min_size=1, max_size=40),
    st.floats(min_value=1e-6, max_value=1e6),
)
def test_every_mark_is_inside(samples: list[float], median: float) -> None:
    row = LatencyRow("t", base=stats(median, median), base_samples_ms=tuple(samples))
    plot = latency_plot(row)
    assert plot is not None
    (lane,) = plot.lanes
    assert 0 <= lane.median_x <= 100
    assert all(0 <= x <= 100 and 0 <= y <= LANE_HEIGHT for x, y in lane.dots)
    assert len(lane.dots) + lane.n_beyond == len(samples)
    assert all(0 <= tick.x <= 100 for tick in plot.ticks)


def test_half_and_double_are_equally_far_from_1() -> None:
    plot = ratio_plot(
        [LatencyRow("a", ratio=2.0, interval=(2.0, 2.0)), LatencyRow("b", ratio=0.5, interval=(0.5, 0.5))]
    )
    assert plot is not None
    fast, slow = plot.marks
    assert fast.x - plot.one_x == pytest.approx(plot.one_x - slow.x)


@given(st.lists(st.tuples(*[st.floats(min_value=1e-3, max_value=1e3)] * 3), min_size=1, max_size=6))
def test_the_ratio_axis_holds_everything_and_shows_1(triples: list[tuple[float, float, float]]) -> None:
    rows = [LatencyRow("t", ratio=mid, interval=(low, high)) for low, mid, high in map(sorted, triples)]
    plot = ratio_plot(rows)
    assert plot is not None
    assert 0 < plot.one_x < 100
    assert all(0 < x < 100 for mark in plot.marks for x in (mark.low_x, mark.x, mark.high_x))
    assert "1×" in [tick.label for tick in plot.ticks]


@given(st.floats(min_value=1e-9, max_value=1e9))
def test_ticks_begin_at_zero_and_are_few(limit: float) -> None:
    ticks = nice_ticks(limit)
    assert ticks[0] == 0
    assert 2 <= len(ticks) <= 7
    assert ticks[-1] <= limit * 1.001


def test_bars_lie_side_by_side() -> None:
    bars = width_bars([WidthRow("a", "Conv2d", 64, 32), WidthRow("b", "Conv2d", 128, 128)])
    assert [(bar.x, bar.before, bar.after) for bar in bars] == [(0, 50, 25), (50, 100, 100)]


def test_real_rows_have_two_lanes(reports: dict[str, Report]) -> None:
    for row in reports["full"].latency[:3]:
        plot = latency_plot(row)
        assert plot is not None
        assert [lane.label for lane in plot.lanes] == ["original", "compressed"]
