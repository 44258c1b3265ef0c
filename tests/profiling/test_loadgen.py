"""MLPerf's LoadGen on a real runtime, where it is installed; and what is said where it is not."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from compressor.core.errors import InvalidOption, MissingDependency
from compressor.core.scenario import OFFLINE, SINGLE_STREAM
from compressor.profiling import loadgen
from compressor.profiling.loadgen_worker import _logged

needs_loadgen = pytest.mark.skipif(
    importlib.util.find_spec("mlperf_loadgen") is None,
    reason="MLPerf's LoadGen is not installed. Run: pip install mlcommons-loadgen",
)
TARGET = "onnxruntime:cpu", "compressor.targets.onnxruntime_cpu:PLUGIN"


def exponential(path: Path, batch: str | int) -> Path:
    value, output = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 64]) for name in ("x", "y"))
    graph = helper.make_graph([helper.make_node("Exp", ["x"], ["y"])], "exp", [value], [output])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@needs_loadgen
def test_both_scenarios_on_one_input_at_a_time(tmp_path: Path) -> None:
    path = exponential(tmp_path / "exp.onnx", "batch")
    stream, offline = loadgen.run_scenarios([path], *TARGET, seconds=0.3)
    assert (stream.scenario, offline.scenario) == (SINGLE_STREAM, OFFLINE)
    for found in (stream, offline):
        assert found.path == path and found.batch_size == 1
        assert found.valid and found.results["result_validity"] == "VALID"
        assert found.results["result_min_duration_met"] is True and found.results["num_errors"] == 0
        assert found.value > 0 and found.n_samples >= 64
        assert found.loadgen_version[0].isdigit()
    assert stream.results["result_query_count"] == stream.n_samples
    assert stream.value == pytest.approx(float(stream.results["early_stopping_latency_ss"]) / 1e6)
    assert offline.results["result_query_count"] == 1  # all samples in one query
    assert offline.value == offline.results["result_samples_per_second"]


@needs_loadgen
def test_larger_batches_are_for_the_offline_scenario_and_are_full(tmp_path: Path) -> None:
    (found,) = loadgen.run_scenarios([exponential(tmp_path / "exp.onnx", "batch")], *TARGET, batch_size=7, seconds=0.2)
    assert found.scenario == OFFLINE and found.valid
    assert found.n_samples % 7 == 0


@needs_loadgen
def test_a_batch_that_the_file_cannot_take(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="`batch_size` must be 1, which the file fixes"):
        loadgen.run_scenarios([exponential(tmp_path / "exp.onnx", 1)], *TARGET, batch_size=2)


def test_a_missing_package_is_one_sentence_with_the_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"not installed\. Run: pip install mlcommons-loadgen") as caught:
        loadgen.run_scenarios([exponential(tmp_path / "exp.onnx", 1)], *TARGET)
    assert caught.value.exit_code == 3


def test_only_results_are_read_from_its_log() -> None:
    lines = [
        "a line of something else",
        ':::MLLOG {"key": "loadgen_version", "value": "6.0"}',
        ':::MLLOG {"key": "loadgen_git_log_message", "value": "long"}',
        ':::MLLOG {"key": "result_validity", "value": "INVALID"}',
        ':::MLLOG {"key": "effective_min_duration_ms", "value": 5}',
    ]
    assert dict(_logged(lines)) == {"loadgen_version": "6.0", "result_validity": "INVALID"}
