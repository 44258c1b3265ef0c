from __future__ import annotations

from pathlib import Path

import pytest

from compressor.core.errors import InvalidOption, ModelFileError
from compressor.targets.openvino_cpu import OpenVinoCpu

openvino = pytest.importorskip("openvino")


@pytest.mark.parametrize("file", ["onnx_file", "ir_file"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_runs_both_kinds_of_file(file: str, batch_size: int, request: pytest.FixtureRequest) -> None:
    assert OpenVinoCpu().runner(request.getfixturevalue(file), batch_size, 1)() is None


def test_what_is_asked_of_the_device_is_what_it_does(onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    genuine = openvino.Core.compile_model

    def spy(*args: object, **kwargs: object) -> object:
        compiled.append(genuine(*args, **kwargs))
        return compiled[-1]

    monkeypatch.setattr(openvino.Core, "compile_model", spy)
    OpenVinoCpu().runner(onnx_file, 1, 1)()
    (model,) = compiled
    assert model.get_property("INFERENCE_NUM_THREADS") == 1
    assert str(model.get_property("PERFORMANCE_HINT")).endswith("LATENCY")
    assert model.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    assert model.get_property("EXECUTION_DEVICES") == ["CPU"]


def test_dynamic_axes_need_a_shape(wild_onnx_file: Path) -> None:
    with pytest.raises(InvalidOption, match=r"openvino:cpu: `shapes\[x\]`"):
        OpenVinoCpu().runner(wild_onnx_file, 1, 1)
    OpenVinoCpu(shapes={"x": (1, 5, 4)}).runner(wild_onnx_file, 2, 1)()


@pytest.mark.parametrize("name", ["bad.onnx", "bad.xml"])
def test_a_file_that_is_no_model_gets_a_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"not a model")
    with pytest.raises(ModelFileError, match=rf"{name}: OpenVINO cannot load it"):
        OpenVinoCpu().runner(path, 1, 1)


def test_describes_what_runs() -> None:
    facts = OpenVinoCpu().describe()
    assert facts["device"] == "CPU"
    assert facts["precision"] == "f32"
