from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compressor.runs.file_sizes import bytes_of


def test_weights_beside_an_onnx_file_count(tmp_path: Path) -> None:
    weights = numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    value, output = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in ("x", "y"))
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [value], [output], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    whole, split = tmp_path / "whole.onnx", tmp_path / "split.onnx"
    onnx.save(model, whole)
    onnx.save(model, split, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert bytes_of(whole) == whole.stat().st_size
    assert bytes_of(split) == split.stat().st_size + 64 * 64 * 4
    (tmp_path / "weights.bin").unlink()  # its runtime will say so
    assert bytes_of(split) == split.stat().st_size


def test_the_weights_of_an_openvino_file_count(tmp_path: Path) -> None:
    (tmp_path / "m.xml").write_bytes(b"x" * 10)
    assert bytes_of(tmp_path / "m.xml") == 10
    (tmp_path / "m.bin").write_bytes(b"x" * 100)
    assert bytes_of(tmp_path / "m.xml") == 110


def test_any_other_file_is_as_large_as_it_is(tmp_path: Path) -> None:
    for name in ("m.pt2", "rubbish.onnx"):
        (tmp_path / name).write_bytes(b"rubbish")
        assert bytes_of(tmp_path / name) == 7
