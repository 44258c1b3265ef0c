"""Files set against each other layer by layer, and a run that looks into its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import compressor
from benchmarks.planted import Network
from compressor.core.errors import InvalidOption, ModelFileError, UnsupportedModel
from compressor.core.progress import SilentProgress
from compressor.doctor import CAUSES
from compressor.runs import examination
from compressor.runs.doctor import falls_short
from compressor.runs.examination import examine, examine_files
from compressor.runs.result import CompressedModel
from tests.networks import Residual, seeded


def chain(folder: Path, name: str, width: int) -> Path:
    network = Network((1, 8, 12, 12))
    network.convolution(8, width, module="first")
    network.add("Relu", module="act")
    network.convolution(width, 8, module="second")
    return network.save(folder / name)


def test_a_pair_is_set_side_by_side(tmp_path: Path) -> None:
    files = [chain(tmp_path, "before.onnx", 64), chain(tmp_path, "after.onnx", 16)]
    found = examine(files, "onnxruntime:cpu", doctor=True)
    table, diagnosis = found.layers, found.diagnosis
    assert table.files == ("before.onnx", "after.onnx")
    rows = {row.layer: row for row in table.rows}
    for name in ("first", "second"):
        before, after = rows[name].before, rows[name].after
        assert before is not None and after is not None
        assert before.macs == 4 * after.macs == 12 * 12 * 9 * 8 * 64
        assert before.seconds > 0 and after.seconds > 0
    for arm in ("before", "after"):
        costs = [getattr(row, arm) for row in table.rows if getattr(row, arm) is not None]
        assert sum(cost.share for cost in costs) == pytest.approx(1.0)
    assert diagnosis is not None
    assert diagnosis.macs_ratio == pytest.approx(4.0)
    examined = {f.cause for f in diagnosis.findings} | set(diagnosis.healthy) | set(diagnosis.skipped)
    assert examined == set(CAUSES.names())
    assert set(diagnosis.skipped) == {"too_many_threads"}


def test_three_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="one or two files"):
        examine_files([chain(tmp_path, f"{i}.onnx", 8) for i in range(3)], {"onnxruntime:cpu": None}, doctor=False)


def test_a_file_that_cannot_be_profiled_gets_a_sentence(tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish.onnx"
    rubbish.write_bytes(b"rubbish")
    with pytest.raises(ModelFileError, match="cannot load it"):
        examine([rubbish], "onnxruntime:cpu", doctor=False)


@pytest.mark.parametrize(("macs", "time", "short"), [(2.0, 1.5, True), (2.0, 1.7, False), (1.0, 1.0, False)])
def test_when_the_doctor_is_called(macs: float, time: float, short: bool) -> None:
    assert falls_short(macs, time) is short


def test_a_run_tells_where_its_time_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "falls_short", lambda promised, ratio: True)
    run = _run()
    report = run.report()
    (table,), (diagnosis,) = report.layers, report.doctor
    assert table.target == diagnosis.target == "onnxruntime:cpu"
    assert len(table.files) == 2
    cut = {row.layer for row in report.widths}
    for row in table.rows:
        if row.layer in cut and row.before is not None and row.after is not None and row.before.macs:
            assert row.after.macs < row.before.macs
    assert cut & {row.layer for row in table.rows}
    assert diagnosis.macs_ratio == pytest.approx(report.macs.before / report.macs.after)


def test_a_run_goes_on_where_the_runtime_cannot_be_profiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise UnsupportedModel("onnxruntime:cpu: profiling model.onnx failed: no profile.")

    monkeypatch.setattr(examination, "examine", refuse)
    report = _run().report()
    assert report.layers == report.doctor == ()
    assert report.latency[0].ratio is not None
    assert any("was not profiled layer by layer" in note for note in report.notes)


def _run() -> CompressedModel:
    return compressor.compress(
        seeded(Residual).eval(),
        torch.randn(1, 3, 16, 16),
        macs=0.5,
        export=["onnx"],
        on=["onnxruntime:cpu"],
        progress=SilentProgress(),
    )
