from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from compressor.core.serial import from_json, to_json
from compressor.report.html import render_html
from compressor.report.schema import AccuracyRow, FileRow, LatencyRow, Report, StageRow, WidthRow

VOID = {"meta", "link", "br", "img", "input", "wbr", "hr"}


class Page(HTMLParser):
    """Elements in order; closing tags must match opening ones."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.ids: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self._open):
            self.text += data


def words(report: Report) -> str:
    return " ".join(Page(render_html(report)).text.split())


def test_the_page_is_well_formed_and_whole(any_report: Report) -> None:
    page = Page(render_html(any_report))
    assert page.tags.count("script") == 1 and page.tags.count("h1") == 1 and page.tags.count("main") == 1
    assert len(page.ids) == len(set(page.ids))
    labels = {ref for _, name, value in page.attributes if name == "aria-labelledby" for ref in value.split()}
    assert labels <= set(page.ids)
    assert page.tags.count("caption") == page.tags.count("table")
    assert page.tags.count("svg") == page.tags.count("title") - 1


def test_nothing_is_loaded(any_report: Report) -> None:
    page = Page(render_html(any_report))
    for tag, name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "href"):
            assert (tag, value) == ("link", "data:,")
    assert "url(" not in render_html(any_report) and "@import" not in render_html(any_report)


def test_foreign_text_stays_text(reports: dict[str, Report], hostile_text: str) -> None:
    page = Page(render_html(reports["hostile"]))
    assert "img" not in page.tags
    assert page.text.count("onerror=alert(1)") == page.text.count("{{7*7}}") > 25
    assert not {"\x1b", "\u202e"} & set(render_html(reports["hostile"]))


def test_a_file_name_that_is_not_unicode_can_be_written(reports: dict[str, Report]) -> None:
    row = FileRow("mod\udcffel.onnx", "onnx", 1, 0, "")
    render_html(replace(reports["full"], files=(row,), model="\udcff")).encode("utf-8")


def test_what_was_won_and_lost_is_said(reports: dict[str, Report]) -> None:
    shown = words(reports["full"])
    for expected in (
        "Faster on 2 of the 3 targets that were timed",
        "Accuracy: 1.39 points lost.",
        "1.49 ms → 0.861 ms, 95 % interval 1.68 to 1.78",
        "no significant difference",
        "OpenVINO finds no GPU on this machine; it sees CPU",
        "87.1 % of the MACs are in layers that can lose channels",
        "the zero-padded shortcut cannot follow a cut",
        "compress --export onnx,openvino --macs 0.5",
        "Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz",
        "c4d1" * 16,
    ):
        assert expected in shown


def test_slower_is_said_as_plainly(reports: dict[str, Report]) -> None:
    shown = words(reports["slower"])
    for expected in (
        "Not faster on any of the 2 targets that were timed",
        "takes 1.40× as long",
        "Disagrees with the PyTorch module and should not be used: model.pt2, model.xml.",
        "The budget was not met (at most 30 % of the MACs)",
        "the runtime ended with signal 11 (segmentation fault)",
        "disagrees",
        "The times vary by 10 % or more.",
    ):
        assert expected in shown


def test_without_data_the_page_does_not_pretend(reports: dict[str, Report]) -> None:
    shown = words(reports["data_free"])
    assert "Accuracy: unknown." in shown
    assert "Accuracy is unknown: no validation data was given." in shown
    assert "points lost" not in shown


def test_nothing_timed_is_said(reports: dict[str, Report]) -> None:
    assert "Speed is unknown" in words(reports["bare"])
    unavailable = replace(reports["full"], latency=(LatencyRow("torch:cuda", unavailable="torch sees no CUDA device"),))
    shown = words(unavailable)
    assert "Speed is unknown" in shown and "torch sees no CUDA device" in shown


def test_every_layer_is_there(reports: dict[str, Report]) -> None:
    page = Page(render_html(reports["deep"]))
    for row in reports["deep"].widths:
        assert row.layer in page.text


def test_numbers_that_are_none_infinite_or_zero_are_shown(reports: dict[str, Report]) -> None:
    nan = float("nan")
    row = replace(reports["full"].latency[0], ratio=nan, interval=(nan, nan), verdict="no significant difference")
    odd = replace(
        reports["full"],
        latency=(row,),
        widths=(WidthRow("empty", "Linear", 0, 0),),
        stages=(StageRow("finetune", 0.0, {"loss": None}),),
        accuracy=(AccuracyRow("dense", 0.0, 0), AccuracyRow("cut", 0.0, 0)),
    )
    assert "no significant difference on onnxruntime:cpu" in words(odd).lower()


def test_the_page_is_the_same_after_a_round_trip_through_json(any_report: Report) -> None:
    assert render_html(from_json(Report, to_json(any_report), "report.json")) == render_html(any_report)


@pytest.mark.parametrize("module", ["html", "terminal", "schemas"])
def test_no_torch_is_needed(module: str) -> None:
    code = f"import sys, compressor.report.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_ladder_is_on_the_page(reports: dict[str, Report]) -> None:
    shown = words(reports["ladder"])
    for expected in (
        "Accuracy: 0.86 points lost.",
        "Asked for: at most 1 point of accuracy lost, measured on 10,000 images (one of them is 0.01 points): "
        "kept by finetune, 1 epoch.",
        "after the cut61.37 %−31.23yes",
        "bias_absorption60.12 %−32.48−1.251.2 sno",
        "neuron_mergingnot applied: No group ends in ReLU.",
        "finetune, 1 epoch91.74 %−0.86+6.241 min 05 syes",
    ):
        assert expected in shown, shown


def test_models_that_were_timed_are_on_the_page(reports: dict[str, Report]) -> None:
    shown = words(reports["timed"])
    for expected in (
        "On the way to --speedup 2x",
        "50.0 %onnxruntime:cpu1.97x1.91x1.88x – 1.94xno",
        "Tables on onnxruntime:cpu: 40 models",
        "2.29x – 2.33xyesyes",
    ):
        assert expected in shown, shown
    assert "On the way to" not in words(reports["full"])


def test_what_the_ladder_missed_stands_at_the_top(reports: dict[str, Report]) -> None:
    shown = words(reports["short"])
    assert shown.index("8.26 points of agreement were lost") < shown.index("Speed, measured")
    assert "Agreement: 91.74 % the same answer." in shown and "Agreement, measured" in shown
    assert "Accuracy:" not in shown and "Accuracy, measured" not in shown


def test_what_files_cost_beside_their_latency_is_on_the_page(reports: dict[str, Report]) -> None:
    shown = words(reports["full"])
    assert shown.count("first inference") == 3  # one table a target
    assert "10.9 MiB" in shown and "5.82 MiB" in shown and "87.7 MiB" in shown and "energy" not in shown
    row = reports["full"].latency[0]
    assert row.base_figures is not None and row.compressed_figures is not None
    counted = replace(row, base_figures=replace(row.base_figures, energy_j=0.0123, memory_bytes=None))
    shown = words(replace(reports["full"], latency=(counted,)))
    assert "12.3 mJ" in shown and "not told" in shown


def test_layers_of_low_rank_beside_either_alone(reports: dict[str, Report]) -> None:
    text = words(reports["split"])
    for shown in (
        "Low rank: tucker2",
        "At the same latency, on onnxruntime:cpu",
        "Pruning alone is as fast and 1.9 points better than both: leave --decompose out.",
        "It does not become as fast on onnxruntime:cpu: 1.21x at most.",
        "8 × 9",
        "It is not faster.",
    ):
        assert shown in text
    assert "Low rank" not in words(reports["full"])


def test_a_control_that_is_as_good_comes_first(reports: dict[str, Report]) -> None:
    text = words(reports["controlled"])
    finding, answer = text.index("The control timm:resnet14t is at least as fast"), text.index("Faster on 2 of the 3")
    body = text.index("Compression report")
    assert body < finding < text.index("Faster on 2 of the 3", body)
    assert answer  # the title has it, too
    assert "91.40 %, as given with --control-accuracy" in text and "torch:cpu: not timed." in text
    assert "at least as fast and as good" not in words(reports["uncontrolled"])
    assert "Control: timm" not in words(reports["full"])
