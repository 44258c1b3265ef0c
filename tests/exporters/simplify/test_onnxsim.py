from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporters.simplify.onnxsim import simplify_file


@pytest.fixture
def foldable(tmp_path: Path) -> Path:
    """y = x + (1 + 2), with the sum of constants left in the graph."""
    one, two = (numpy_helper.from_array(np.array([v], np.float32), n) for n, v in (("one", 1.0), ("two", 2.0)))
    nodes = [helper.make_node("Add", ["one", "two"], ["three"]), helper.make_node("Add", ["x", "three"], ["y"])]
    given, made = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 1]) for name in "xy")
    graph = helper.make_graph(nodes, "sum", [given], [made], [one, two])
    path = tmp_path / "sum.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    return path


def test_constants_are_folded_and_names_kept(foldable: Path) -> None:
    assert simplify_file(foldable).startswith("onnxsim ")
    model = onnx.load(str(foldable))
    assert [node.op_type for node in model.graph.node] == ["Add"]
    assert (model.graph.input[0].name, model.graph.output[0].name) == ("x", "y")
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [path.name for path in foldable.parent.iterdir()] == ["sum.onnx"]


def test_a_failure_keeps_the_file_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model at all")
    assert simplify_file(path).startswith("none: onnxsim ")
    assert path.read_bytes() == b"no model at all"


def test_a_crash_keeps_the_file_and_says_so(foldable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = foldable.read_bytes()
    monkeypatch.setattr(
        "exporters.simplify.onnxsim.run_child", lambda *given: "the process was ended by SIGSEGV: it printed nothing"
    )
    assert "failed (the process was ended by SIGSEGV" in simplify_file(foldable)
    assert foldable.read_bytes() == before


def test_a_model_past_the_limit_is_left_alone(foldable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporters.simplify.onnxsim._MAX_BYTES", 10)
    assert simplify_file(foldable).startswith("none: the model is larger than")
