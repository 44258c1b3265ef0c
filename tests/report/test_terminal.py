from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from compressor.core.measurement import Comparison, MachineFacts, Measurement
from compressor.report import terminal
from compressor.report.inspection import Inspection
from compressor.report.schema import GroupRow, LatencyRow, Report


def console(width: int = 80, encoding: str = "utf-8", **options: object) -> tuple[Console, io.TextIOWrapper]:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    return Console(file=stream, width=width, highlight=False, **options), stream  # type: ignore[arg-type]


def text_of(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode(stream.encoding)  # type: ignore[attr-defined]


def printed(report: Report, **options: object) -> str:
    page, stream = console(**options)  # type: ignore[arg-type]
    terminal.print_report(report, page)
    return text_of(stream)


def words(text: str) -> str:
    return " ".join(text.split())


def test_a_report_fits_80_columns(any_report: Report) -> None:
    for line in printed(any_report).splitlines():
        assert cell_len(line) <= 80, line


def test_without_colours_nothing_is_lost(reports: dict[str, Report]) -> None:
    text = printed(reports["slower"], no_color=True, force_terminal=False)
    assert "\x1b" not in text
    shown = words(text)
    for expected in (
        "slower",
        "no significant difference",
        "disagrees",
        "segmentation fault",
        "71.45 points lost",
        "Attention: Disagrees with the PyTorch module and should not be used: model.pt2, model.xml.",
        "Asked for: at most 30 % of the MACs, which was not met.",
    ):
        assert expected in shown


def test_everything_is_said(reports: dict[str, Report]) -> None:
    shown = words(printed(reports["full"]))
    for expected in (
        "87.1 % of the MACs are in layers that can lose channels (10 groups).",
        "layer2.0.conv2 and 1 more",
        "reaches the model's output",
        "MACs 41.2 M 20.5 M 49.8 %",
        "finetune 91.21 % -1.39 10,000",
        "1.49 ms 0.861 ms 1.73x 1.68 - 1.78 faster",
        "openvino:gpu: not timed. OpenVINO finds no GPU",
        "Speed: faster on 2 of the 3 targets that were timed.",
        "Note: 3 groups were left whole",
    ):
        assert expected in shown


def test_layers_of_low_rank_beside_either_alone(reports: dict[str, Report]) -> None:
    text = words(printed(reports["split"]))
    for shown in (
        "1 of 3 layers were replaced by thin ones (energy 0.9), which leaves 96.6 % of the MACs.",
        "layer1.0.conv1 8x9 2.36 M 942 k 40.3 % 1.30x replaced",
        "both 1.52x 1.50 - 1.54 46.0 % 41.0 % 88.20 %",
        "low rank alone: It does not become as fast on onnxruntime:cpu: 1.21x at most.",
        "Pruning alone is as fast and 1.9 points better than both: leave --decompose out.",
    ):
        assert shown in text
    assert "Low rank" not in words(printed(reports["full"]))


def test_a_control_that_is_as_good_comes_first(reports: dict[str, Report]) -> None:
    text = words(printed(reports["controlled"]))
    attention = "Attention: The control timm:resnet14t is at least as fast and as good as the compressed model"
    assert text.startswith(attention) and text.partition(" Result ")[2].startswith(attention)
    for expected in (
        "19.4 M MACs per input, 140 k parameters. It is built with random weights.",
        "Accuracy (top-1): 91.40 %, as given with --control-accuracy.",
        "onnxruntime:cpu 0.861 ms 1.72x 1.004x 0.991 - 1.017 at least as fast",
        "torch:cpu: not timed. The control is no pt2 file.",
    ):
        assert expected in text
    other = words(printed(reports["uncontrolled"]))
    assert "Attention: The control" not in other and "Accuracy (top-1): unknown, because only its runtime" in other


def test_without_data_accuracy_is_unknown(reports: dict[str, Report]) -> None:
    assert "Accuracy (top-1): unknown, no validation data was given." in words(printed(reports["data_free"]))


def test_foreign_names_are_neither_markup_nor_escape_codes(reports: dict[str, Report]) -> None:
    text = printed(reports["hostile"], no_color=True)
    assert "\x1b" not in text and "\u202e" not in text
    assert "[red]" in text  # shown, not obeyed


def test_many_groups_are_not_all_listed(reports: dict[str, Report]) -> None:
    text = printed(reports["deep"])
    assert text.count(".conv1 ") <= terminal.MAX_GROUPS
    assert "smaller groups." in text
    assert "and 48 more" in text


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_any_encoding_will_do(reports: dict[str, Report], encoding: str) -> None:
    named = replace(reports["full"], model="модель.pt", notes=("слой \udcff × …",))
    assert "Speed: faster on 2" in printed(named, encoding=encoding)


def test_a_wide_name_does_not_break_the_table(reports: dict[str, Report]) -> None:
    group = GroupRow("層" * 60, 64, 32, 0.5, 3)
    for line in printed(replace(reports["full"], groups=(group,))).splitlines():
        assert cell_len(line) <= 80


def test_an_inspection(reports: dict[str, Report]) -> None:
    report = reports["full"]
    page, stream = console()
    terminal.print_inspection(
        Inspection(
            "m.pt", {"x": (1, 3, 32, 32)}, "the first layer", 41_214_986, 272_474, 1_102_312, 0.871, report.groups
        ),
        page,
    )
    shown = words(text_of(stream))
    assert "Input x: 1 x 3 x 32 x 32, from the first layer." in shown
    assert "41.2 M MACs per input, 272 k parameters, 1.05 MiB of weights." in shown
    assert "What stays whole, and why" in shown


def test_comparisons_of_any_two_files(reports: dict[str, Report]) -> None:
    page, stream = console()
    rows = (*reports["full"].latency[:1], LatencyRow("torch:cuda", unavailable="torch sees no CUDA device."))
    terminal.print_latency(rows, page, ("a_rather_long_name.onnx", "b.onnx"))
    shown = words(text_of(stream))
    assert "a_rath~e.onnx b.onnx" in shown
    assert "torch:cuda: not timed. torch sees no CUDA device." in shown


def measurement(path: str, *samples_s: float) -> Measurement:
    machine = MachineFacts("cpu", 2, 2, 4096, "Linux", "3.11")
    return Measurement("onnxruntime:cpu", Path(path), "00" * 32, 1, 2, (samples_s,), ((),), machine)


def test_one_file_alone() -> None:
    page, stream = console()
    terminal.print_measurements([measurement("m.onnx", 0.001, 0.002, 0.003)], (), page)
    shown = words(text_of(stream))
    assert "Latency on onnxruntime:cpu, batch 1, 2 threads" in shown
    # p90 lies 0.8 of the way from the second sample to the third, p99 0.98.
    assert "m.onnx 2.00 ms 2.80 ms 2.98 ms 3" in shown
    assert "Against" not in shown


def test_one_sample_is_its_own_percentiles() -> None:
    page, stream = console()
    terminal.print_measurements([measurement("m.onnx", 0.001)], (), page)
    assert "1.00 ms 1.00 ms 1.00 ms 1" in words(text_of(stream))


def test_files_against_the_first(reports: dict[str, Report]) -> None:
    stats = reports["full"].latency[0].base
    assert stats is not None
    warning = "The times vary by 10 % or more."
    comparisons = [
        Comparison("onnxruntime:cpu", stats, stats, 1.5, (1.4, 1.6), "faster", (warning,)),
        Comparison("onnxruntime:cpu", stats, stats, 1.001, (0.99, 1.01), "no significant difference", (warning,)),
    ]
    page, stream = console()
    files = [
        measurement(f"/a/very/long/way/down/to/the/place/of/{name}.onnx", 0.001) for name in ("base", "small", "same")
    ]
    terminal.print_measurements(files, comparisons, page)
    text = text_of(stream)
    assert all(cell_len(line) <= 80 for line in text.splitlines())
    shown = words(text)
    assert "small.onnx 1.50x 1.40 - 1.60 faster" in shown
    assert "same.onnx 1.001x 0.990 - 1.010 no significant difference" in shown
    assert shown.count(warning) == 1


def test_a_ladder_is_told_rung_by_rung(reports: dict[str, Report]) -> None:
    shown = words(printed(reports["ladder"]))
    for expected in (
        "Recovery ladder (accuracy) rung top-1 points bought time kept",
        "original 92.60 % after the cut 61.37 % -31.23 yes",
        "bias_absorption 60.12 % -32.48 -1.25 1.2 s no",
        "least_squares 76.00 % -16.60 -2.92 9.1 s yes",
        "least_squares + bn_reestimate 85.50 % -7.10 +6.58 3.1 s yes",
        "finetune, 1 epoch 91.74 % -0.86 +6.24 1 min 05 s yes",
        "neuron_merging: not applied. No group ends in ReLU.",
        "Accuracy (top-1): 0.86 points lost, 92.60 % -> 91.74 % on 10,000 validation images.",
        "Asked for: at most 1 point of accuracy lost, measured on 10,000 images (one of them is 0.01 points): "
        "kept by finetune, 1 epoch.",
    ):
        assert expected in shown, shown
    assert "Attention" not in shown


def test_models_that_were_timed_on_the_way_are_listed(reports: dict[str, Report]) -> None:
    shown = words(printed(reports["timed"]))
    for expected in (
        "On the way to --speedup 2x MACs target predicted measured interval kept taken",
        "50.0 % onnxruntime:cpu 1.97x 1.91x 1.88x - 1.94x no",
        "46.0 % openvino:cpu 2.31x 2.29x - 2.33x yes yes",
        "Asked for: 2 times as fast.",
    ):
        assert expected in shown, shown


def test_agreement_is_never_called_accuracy(reports: dict[str, Report]) -> None:
    shown = words(printed(reports["short"]))
    for expected in (
        "Recovery ladder (agreement)",
        "Agreement (top-1): 91.74 % the same answer, as the original on 500 images; accuracy is unknown, because they "
        "have no labels.",
        "Asked for: at most 1 point of agreement lost, measured on 500 images (one of them is 0.2 points): not kept.",
        "Attention: 8.26 points of agreement were lost, and --max-drop allows 1; this is the best result that was "
        "found. Estimated from this run, about 94 % of the MACs would have to remain (--macs 94%).",
    ):
        assert expected in shown, shown
    assert shown.lower().replace("accuracy is unknown", "").count("accuracy") == 0


def test_what_files_cost_beside_their_latency_is_said(reports: dict[str, Report]) -> None:
    text = words(printed(reports["full"]))
    assert "Throughput, loading and memory" in text and "energy" not in text
    assert (
        text.count("31.2 ms") == 6 and "10.9 MiB" in text and "(onnxruntime:cpu 87.7 MiB, openvino:cpu 87.7 MiB" in text
    )
    row = reports["full"].latency[0]
    assert row.base_figures is not None
    counted = replace(row, base_figures=replace(row.base_figures, energy_j=0.0123, memory_bytes=None))
    with_energy = printed(replace(reports["full"], latency=(counted,)))
    assert "12.3 mJ" in with_energy and max(map(len, with_energy.splitlines())) <= 80
    unknown = replace(row, base_figures=None, compressed_figures=None)
    assert "loading" not in printed(replace(reports["full"], latency=(unknown,)))
