"""--control from the command line and from Python: three files in turns, and what will not do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import compressor
from compressor.core.errors import InvalidOption
from compressor.core.measurement import Measurement
from compressor.core.serial import load_json
from compressor.report.schema import Report
from exporters.export import export
from tests.cli.command_line import INPUT, CommandLine
from tests.cli.conftest import small_net
from tests.runs.controlled import small, wide

REFUSED = [*INPUT, "-o", "run"]


@pytest.fixture(scope="module")
def controls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smaller models in several forms, and images whose labels are what they answer."""
    folder = tmp_path_factory.mktemp("controls")
    torch.manual_seed(0)
    control = small(n_outputs=4)
    torch.save(control, folder / "small.pt")
    torch.save(control.state_dict(), folder / "weights.pt")
    torch.save(small(n_inputs=1), folder / "grey.pt")
    export(control, torch.randn(1, 3, 12, 12), ["onnx"], folder, stem="larger")
    export(control, torch.randn(1, 3, 8, 8), ["openvino"], folder, stem="small")
    (folder / "small_net.py").write_text("from tests.runs.controlled import small as make\n")
    pixels = np.random.default_rng(0).integers(0, 256, (32, 3, 8, 8), dtype=np.uint8)
    with torch.no_grad():
        labels = control(torch.from_numpy(pixels).float() / 255).argmax(1).numpy()
    np.savez(folder / "images.npz", images=pixels, labels=labels)
    return folder


def report_of(run: Path) -> Report:
    return load_json(Report, run / "report.json")


def consistent(report: Report) -> None:
    """Nobody knows how fast anything is here; but what is said must follow from what was measured."""
    control = report.control
    assert control is not None
    for row in control.timings:
        assert row.ratio is not None and row.interval is not None, row
        low, high = row.interval
        told = "at least as fast" if low >= 1 / 1.02 else "slower" if high < 1 / 1.02 else "cannot be told"
        assert row.verdict == told
    fast = any(row.verdict == "at least as fast" for row in control.timings)
    assert bool(control.finding) == (fast and control.quality != "worse")


def test_three_files_take_turns(compress: CommandLine, files: Path, controls: Path) -> None:
    arguments = ["--control", controls / "small.pt", "--val", controls / "images.npz", "--export", "onnx,openvino"]
    ended = compress.run(files / "net.pt", *INPUT, *arguments, "-o", "run")
    assert ended.code == 0, ended
    report = report_of(compress.folder / "run")
    control = report.control
    assert control is not None and (control.kind, control.top1_percent, control.accuracy_from) == (
        "file", 100.0, "measured",
    )  # fmt: skip
    assert [row.target for row in control.timings] == ["onnxruntime:cpu", "openvino:cpu"]
    assert control.quality == "at least as good" and control.macs == 8 * 27 * 36 + 8 * 4
    consistent(report)
    assert (ended.out.lstrip().startswith("Attention: The control ")) == bool(control.finding)
    measured = load_json(list[Measurement], compress.folder / "run" / "measurements.json")
    assert len(measured) == 6
    for arms in (measured[:3], measured[3:]):
        assert len({arm.session for arm in arms}) == 1 and len({len(arm.processes) for arm in arms}) == 1
        assert [arm.path.parent.name for arm in arms] == ["base", "", "control"]
    assert str(controls) not in (compress.folder / "run" / "report.html").read_text()
    assert sorted(path.name for path in (compress.folder / "run").iterdir() if "control" in path.name) == []
    again = compress.run("--recipe", "run/recipe.toml", "-o", "again", "--on", "onnxruntime:cpu", "--quiet")
    assert again.code == 0 and report_of(compress.folder / "again").control is not None


def test_a_narrower_model_with_an_accuracy_that_is_known(compress: CommandLine, files: Path) -> None:
    arguments = ["--control", "narrow", "--control-accuracy", "25%", "--val", files / "images.npz", "--quiet"]
    ended = compress.run(files / "net.pt", *INPUT, *arguments, "-o", "run")
    assert ended.code == 0, ended
    report = report_of(compress.folder / "run")
    assert report.control is not None and "own widths" in report.control.description
    assert (report.control.top1_percent, report.control.accuracy_from) == (25.0, "--control-accuracy")
    assert report.control.macs == report.macs.after
    consistent(report)


def test_a_file_of_a_runtime_is_timed_as_it_is(compress: CommandLine, files: Path, controls: Path) -> None:
    targets = ["--export", "onnx,openvino", "--on", "openvino:cpu,onnxruntime:cpu", "--quiet"]
    ended = compress.run(files / "net.pt", *INPUT, "--control", controls / "small.xml", *targets, "-o", "run")
    assert ended.code == 0, ended
    control = report_of(compress.folder / "run").control
    assert control is not None and control.macs is None and control.top1_percent is None
    assert [bool(row.stats) for row in control.timings] == [True, False]
    measured = load_json(list[Measurement], compress.folder / "run" / "measurements.json")
    assert [measurement.path.name for measurement in measured[:3]] == ["model.xml", "model.xml", "small.xml"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["timm:resnt26"], 2, "`--control` must be one of timm's"),
        (["nowhere.onnx"], 2, "Check the path."),
        (["narrow", "--on", "none"], 2, "to time --control narrow on"),
        (["narrow", "--control-accuracy", "93.1"], 2, "93.1% or 0.931"),
        (["CONTROLS/images.npz"], 4, "NumPy arrays"),
        (["CONTROLS/weights.pt", "--control-arch", "CONTROLS/small_net.py:make"], 4, "4.weight is (4, 8) in the file"),
        (["CONTROLS/grey.pt"], 2, "the model's inputs (input=1x3x8x8)"),
        (["CONTROLS/larger.onnx"], 2, "Its latency would be no comparison."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_will_not_do_is_refused_before_anything_is_chosen(
    compress: CommandLine, files: Path, controls: Path, arguments: list[str], code: int, words: str
) -> None:
    given = [argument.replace("CONTROLS", str(controls)) for argument in arguments]
    ended = compress.run(files / "net.pt", *REFUSED, "--control", *given)
    assert (ended.code, ended.out) == (code, ""), ended
    assert words in ended.error
    assert "Choosing channels" not in ended.err and not (compress.folder / "run").exists()


def test_options_without_a_control(compress: CommandLine, files: Path) -> None:
    assert "used with --control" in compress.refused(2, files / "net.pt", *REFUSED, "--control-accuracy", "93%")


def test_timm_is_not_there(compress: CommandLine, files: Path) -> None:
    (compress.folder / "hidden").mkdir()
    (compress.folder / "hidden" / "sitecustomize.py").write_text("import sys\nsys.modules['timm'] = None\n")
    hidden = {"PYTHONPATH": str(compress.folder / "hidden")}
    sentence = compress.refused(3, files / "net.pt", *REFUSED, "--control", "timm:resnet26", **hidden)
    assert "--control timm:resnet26 needs the package 'timm'" in sentence


def test_a_control_larger_than_the_original_is_only_reported(files: Path) -> None:
    """From Python, as a live module that stays as it is; the compressed model is the same with and without."""
    model, larger = small_net(), wide()
    larger.train()
    given: dict[str, Any] = {"export": ["onnx"], "method": "random", "macs": 0.5}
    run = compressor.compress(model, torch.randn(1, 3, 8, 8), control=larger, on=["onnxruntime:cpu"], **given)
    report = run.report()
    assert report.control is not None and report.control.macs is not None and report.control.kind == "module"
    assert report.control.macs > report.macs.before and report.exit_code == 0 and larger.training
    consistent(report)
    alone = compressor.compress(model, torch.randn(1, 3, 8, 8), **given)
    assert all(torch.equal(a, b) for a, b in zip(run.module.parameters(), alone.module.parameters(), strict=True))
    with pytest.raises(InvalidOption, match="to time --control narrow on"):
        compressor.compress(model, torch.randn(1, 3, 8, 8), control="narrow")
