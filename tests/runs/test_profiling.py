"""Files started and timed in several settings, on a real runtime."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

import compressor
from compressor.core.errors import InvalidOption, MissingDependency
from compressor.core.scenario import OFFLINE, SINGLE_STREAM
from compressor.core.serial import from_json
from compressor.profiling.machine import machine_facts
from compressor.report.profile_schema import ProfileReport
from compressor.runs.profile_folder import write_profile
from compressor.runs.profiling import profile


def exponential(path: Path, batch: str | int = "batch") -> Path:
    value, output = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 64]) for name in ("x", "y"))
    graph = helper.make_graph([helper.make_node("Exp", ["x"], ["y"])], "exp", [value], [output])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


class Listener:
    """Remembers the titles of steps."""

    def __init__(self) -> None:
        self.titles: list[str] = []

    @contextmanager
    def step(self, title: str, total: float | None = None) -> Iterator[Listener]:
        self.titles.append(title)
        yield self

    def advance(self, n: float = 1.0, note: str = "") -> None:
        pass

    def note(self, sentence: str) -> None:
        raise AssertionError(sentence)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("two")
    return [exponential(folder / "a.onnx"), exponential(folder / "b.onnx")]


def test_a_grid(two: list[Path], tmp_path: Path) -> None:
    listener = Listener()
    machine = machine_facts()
    found = profile(two, threads=[1, 2], batch_size=[1, 3], processes=3, machine=machine, progress=listener)
    settings = [(1, 1), (1, 3), (2, 1), (2, 3)]
    assert [(one.threads, one.batch_size) for one in found] == settings
    for one in found:
        assert one.target == "onnxruntime:cpu"
        assert [measured.path for measured in one.measurements] == two
        assert {(m.threads, m.batch_size) for m in one.measurements} == {(one.threads, one.batch_size)}
        assert all(len(measured.processes) == 3 for measured in one.measurements)
        assert all(measured.machine is machine for measured in one.measurements)
        assert [startup.path for startup in one.startups] == two
        assert {(s.threads, s.batch_size) for s in one.startups} == {(one.threads, one.batch_size)}
        assert [startup.file_bytes for startup in one.startups] == [path.stat().st_size for path in two]
        assert len(one.comparisons) == 1
    # Everything is started before anything is timed.
    kinds = [title.split()[0] for title in listener.titles]
    assert kinds == ["starting"] * 4 + ["timing"] * 4
    assert listener.titles[-1] == "timing on onnxruntime:cpu, 2 threads, batch 3"

    report = write_profile(found, machine, tmp_path / "new" / "folder")
    written = (tmp_path / "new" / "folder" / "profile.json").read_bytes()
    assert from_json(ProfileReport, written, "profile.json") == report
    assert "a.onnx" in (tmp_path / "new" / "folder" / "profile.html").read_text(encoding="utf-8")


def test_what_a_fixed_batch_cannot_take_is_said_before_anything_is_timed(tmp_path: Path) -> None:
    listener = Listener()
    with pytest.raises(InvalidOption, match="`batch_size` must be 1, which the file fixes, but got 8"):
        profile([exponential(tmp_path / "fixed.onnx", 1)], batch_size=[1, 8], progress=listener)
    assert {title.split()[0] for title in listener.titles} == {"starting"}


def test_loadgen(two: list[Path]) -> None:
    if importlib.util.find_spec("mlperf_loadgen") is None:
        pytest.skip("MLPerf's LoadGen is not installed. Run: pip install mlcommons-loadgen")
    found = compressor.profile(two[:1], batch_size=[1, 2], processes=1, loadgen=True)
    assert [[one.scenario for one in each.scenarios] for each in found] == [[SINGLE_STREAM, OFFLINE], [OFFLINE]]
    assert all(one.valid and one.value > 0 for each in found for one in each.scenarios)


def test_without_loadgen_nothing_is_started(two: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    listener = Listener()
    with pytest.raises(MissingDependency):
        profile(two, loadgen=True, progress=listener)
    assert listener.titles == []


def test_no_process_is_no_measurement(two: list[Path]) -> None:
    with pytest.raises(InvalidOption, match="`--processes` must be at least 1, but got 0"):
        profile(two, processes=0)
