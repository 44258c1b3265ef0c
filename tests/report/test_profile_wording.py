from __future__ import annotations

from dataclasses import replace

import pytest

from compressor.report.profile_charts import ratios_of, throughput_plots
from compressor.report.profile_rows import percentiles_ms, rows_of
from compressor.report.profile_schema import Profile
from compressor.report.profile_wording import headline, warnings_of
from tests.report.profiles import BUSY, NOISY, PROFILES, profile


def with_verdicts(*verdicts: str) -> list[Profile]:
    made = [profile("t", 1, batch, ms=1.0) for batch in range(1, 1 + len(verdicts))]
    return [
        replace(one, comparisons=(replace(one.comparisons[0], verdict=verdict),))
        for one, verdict in zip(made, verdicts, strict=True)
    ]


@pytest.mark.parametrize(
    ("verdicts", "answer", "tone"),
    [
        (["faster"], "small.onnx: 1.43× faster", "good"),
        (["faster", "faster"], "small.onnx: 1.43× faster, 2 settings", "good"),
        (["slower", "slower"], "small.onnx: slower, 2 settings", "bad"),
        (["faster", "slower"], "small.onnx: faster in 1, slower in 1, 2 settings", "neutral"),
        (["", "slower"], "small.onnx: faster in 0, slower in 1, 2 settings", "bad"),
        (["", ""], "small.onnx: no significant difference, 2 settings", "neutral"),
    ],
)
def test_one_line_over_everything(verdicts: list[str], answer: str, tone: str) -> None:
    found = headline(with_verdicts(*verdicts))
    assert (found.answer, found.tone) == (answer, tone)
    assert found.interval == "against resnet20.onnx"


def test_warnings_say_what_they_are_about() -> None:
    found = dict(warnings_of(PROFILES["grid"]().profiles))
    assert found[BUSY] == []  # everything
    assert found[NOISY] == ["onnxruntime:cpu, 2 threads, batch 8", "openvino:cpu, 2 threads, batch 8"]


def test_bars_are_as_long_as_their_throughput() -> None:
    rows = [row for one in PROFILES["grid"]().profiles for row in rows_of(one)]
    plots = throughput_plots(rows)
    assert [plot.target for plot in plots] == ["onnxruntime:cpu", "openvino:cpu"]
    for plot in plots:
        bars = [bar for setting in plot.settings for bar in setting.bars]
        assert len(bars) == 8 and max(bar.width for bar in bars) == pytest.approx(97)
        assert len({round(bar.width / bar.row.per_s, 9) for bar in bars}) == 1
        assert [bar.y for bar in bars] == sorted(bar.y for bar in bars)
        assert bars[-1].y < plot.height


def test_ratios_say_their_setting_and_no_more_than_is_needed() -> None:
    rows = [row for one in PROFILES["grid"]().profiles for row in rows_of(one)]
    plot = ratios_of(rows)
    assert plot is not None and plot.marks[0].target == "onnxruntime:cpu, 1 thread, batch 1"
    alone = ratios_of(rows_of(profile("t", 1, 1, ms=1.0)))
    assert alone is not None and alone.marks[0].target == "1 thread, batch 1"
    assert ratios_of(rows_of(PROFILES["lone"]().profiles[0])) is None


def test_throughput_is_inferences_per_second_times_batch() -> None:
    (first, _) = rows_of(profile("t", 1, 8, ms=4.0))
    assert first.per_s == pytest.approx(8 * 1000 / first.median_ms)


def test_percentiles() -> None:
    assert percentiles_ms([0.001, 0.002, 0.003], 50) == [2.0]
    assert percentiles_ms([0.004], 50, 99) == [4.0, 4.0]
