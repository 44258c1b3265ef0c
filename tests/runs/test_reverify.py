"""A finished run is checked again: what was changed or is missing fails, whatever it still computes."""

import pytest

from compressor.core.errors import ModelFileError
from compressor.core.progress import SilentProgress
from compressor.runs.reverify import verify_run


def checked(run):
    return verify_run(run, SilentProgress())


def test_an_intact_run(finished):
    rows = checked(finished)
    assert {row.file for row in rows} == {"model.pt2", "model.onnx"}
    assert all(row.passed and row.batch_size > 0 and row.max_rel_error < 1e-3 for row in rows)


def test_a_changed_file_and_a_missing_one(copied):
    onnx = copied / "model.onnx"
    onnx.write_bytes(onnx.read_bytes() + b" ")  # still a model that computes the same
    rows = {row.file: row for row in checked(copied)}
    assert rows["model.pt2"].passed and not rows["model.onnx"].passed
    assert rows["model.onnx"].inputs == "model.onnx was changed after the run (its SHA-256 differs)"
    (copied / "model.pt2").unlink()
    rows = {row.file: row for row in checked(copied)}
    assert not any(row.passed for row in rows.values())
    assert rows["model.pt2"].inputs == "model.pt2 is missing" and "SHA-256" in rows["model.onnx"].inputs


def test_nothing_to_compare_with(copied):
    program = copied / "model.pt2"
    program.write_bytes(program.read_bytes()[:-1] + b"x")
    rows = checked(copied)
    assert [row.passed for row in rows] == [False, False]
    assert {row.inputs for row in rows if row.file != "model.pt2"} == {
        "model.pt2, which it is compared with, is damaged or missing"
    }


def test_no_run(tmp_path):
    with pytest.raises(ModelFileError, match=r"not a finished run \(it has no report.json\)"):
        checked(tmp_path)
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(ModelFileError, match="not a valid Report"):
        checked(tmp_path)
