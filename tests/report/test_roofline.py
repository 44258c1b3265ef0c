"""Layer tables and findings on the page, in the terminal and in the chart."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from compressor.core.findings import Diagnosis, Finding
from compressor.core.layers import LayerCost, LayerRow, LayerTable
from compressor.report.html import render_html
from compressor.report.layers_terminal import print_diagnosis, print_layers
from compressor.report.roofline import HEIGHT, roofline
from compressor.report.schema import Report


def cost(seconds: float, macs: int, n_bytes: int, share: float = 0.5) -> LayerCost:
    return LayerCost(1, ("Conv",), seconds, share, macs, n_bytes, macs / seconds / 5e10, n_bytes / seconds / 1e10)


TABLE = LayerTable(
    target="onnxruntime:cpu",
    batch_size=1,
    threads=2,
    files=("base.onnx", "model.onnx"),
    whole_s=(0.02, 0.01),
    macs_per_s=5e10,
    bytes_per_s=1e10,
    operator_s=5e-6,
    rows=(
        LayerRow("conv1", cost(2e-3, 90_000_000, 1_000_000), cost(1e-3, 40_000_000, 700_000)),
        LayerRow("layer1.0.<b>conv2", cost(1e-3, 9_000_000, 9_000_000), None),
        LayerRow("(layout)", None, cost(1e-5, 0, 200_000, 0.01)),
    ),
)
DIAGNOSIS = Diagnosis(
    target="onnxruntime:cpu",
    file="model.onnx",
    threads=2,
    batch_size=1,
    findings=(
        Finding(
            "misaligned_widths", "conv1", "129 channels take 3.1 times as long.", "Keep 136.", 3.1, (2.9, 3.3), 0.4
        ),
    ),
    healthy=("denormals", "overhead"),
    skipped={"lost_fusion": "There is no file from before."},
    seconds=12.0,
    macs_ratio=2.0,
    time_ratio=1.1,
)


def shown(*, tables: bool) -> str:
    console = Console(file=io.StringIO(), width=80)
    if tables:
        print_layers([TABLE], console)
    else:
        print_diagnosis(DIAGNOSIS, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_dots_lie_under_the_roof_in_the_chart() -> None:
    plot = roofline(TABLE)
    assert plot is not None
    assert [(dot.arm, dot.layer) for dot in plot.dots if dot.layer == "conv1"] == [
        ("original", "conv1"),
        ("compressed", "conv1"),
    ]
    assert len(plot.dots) == 3  # what has no MACs has no place here
    roof = plot.flat[0][1]
    for dot in plot.dots:
        assert 0 <= dot.x <= 100 and roof <= dot.y <= HEIGHT
    (x0, y0), (x1, y1) = plot.slope
    assert x0 < x1 and y0 > y1 and (x1, y1) == plot.flat[0]


def test_there_is_no_chart_without_work() -> None:
    assert roofline(replace(TABLE, rows=TABLE.rows[2:])) is None
    assert roofline(replace(TABLE, macs_per_s=0.0)) is None


def test_the_terminal_shows_times_and_shares() -> None:
    text = shown(tables=True)
    assert "2.000" in text and "1.000" in text and "layer1.0.<b>conv2" in text
    assert "50 GMAC/s" in text and "10 GB/s" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_the_terminal_shows_findings_with_what_to_do() -> None:
    text = " ".join(shown(tables=False).split())
    assert "2.00 times fewer MACs than before, 1.10 times as fast" in text
    assert "Misaligned widths (conv1): 129 channels take 3.1 times as long." in text
    assert "95 % interval 2.90 to 3.30" in text
    assert "What to do: Keep 136." in text
    assert "Looked for and not found: denormal numbers, bound by overhead." in text
    assert "Not looked for: lost fusion. There is no file from before." in text


def test_the_page_shows_both(full_report: Report) -> None:
    page = render_html(replace(full_report, layers=(TABLE,), doctor=(DIAGNOSIS,)))
    assert 'id="roofline-1"' in page and "Keep 136." in page
    assert "<b>conv2" not in page
    assert 'id="layers"' not in render_html(replace(full_report, layers=(), doctor=()))


@pytest.fixture
def full_report(request: pytest.FixtureRequest) -> Report:
    return request.getfixturevalue("reports")["full"]
