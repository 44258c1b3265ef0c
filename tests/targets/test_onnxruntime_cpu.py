from __future__ import annotations

from pathlib import Path

import pytest
from onnx import TensorProto, helper

from compressor.core.errors import InvalidOption, ModelFileError, UnsupportedModel
from compressor.targets._onnxruntime import open_session
from compressor.targets.onnxruntime_cpu import OnnxRuntimeCpu

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("batch_size", [1, 3])
def test_runs_with_any_batch(onnx_file: Path, batch_size: int) -> None:
    run = OnnxRuntimeCpu().runner(onnx_file, batch_size, 1)
    assert run() is None


def test_threads_are_set_on_the_session(onnx_file: Path) -> None:
    session = open_session(onnx_file, ["CPUExecutionProvider"], 2, {})
    options = session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert session.get_providers() == ["CPUExecutionProvider"]


def test_a_fixed_batch_is_said(fixed_onnx_file: Path) -> None:
    OnnxRuntimeCpu().runner(fixed_onnx_file, 3, 1)()
    with pytest.raises(InvalidOption, match="onnxruntime:cpu: `batch_size` must be 3"):
        OnnxRuntimeCpu().runner(fixed_onnx_file, 1, 1)


def test_dynamic_axes_need_a_shape(wild_onnx_file: Path) -> None:
    with pytest.raises(InvalidOption, match=r"shapes\[x\]"):
        OnnxRuntimeCpu().runner(wild_onnx_file, 1, 1)
    OnnxRuntimeCpu(shapes={"x": (1, 5, 4)}).runner(wild_onnx_file, 2, 1)()


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x00" * 64])
def test_a_file_that_is_no_model_gets_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"bad\.onnx: ONNX Runtime cannot load it"):
        OnnxRuntimeCpu().runner(path, 1, 1)


def test_text_inputs_are_refused(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("words", TensorProto.STRING, [1])
    output = helper.make_tensor_value_info("same", TensorProto.STRING, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["words"], ["same"])], "text", [value], [output])
    path = tmp_path / "text.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )
    with pytest.raises(UnsupportedModel, match=r"input 'words' is a tensor\(string\)"):
        OnnxRuntimeCpu().runner(path, 1, 1)


def test_describes_what_runs() -> None:
    facts = OnnxRuntimeCpu().describe()
    assert facts["provider"] == "CPUExecutionProvider"
    assert onnxruntime.__version__ in facts["runtime"]
