from __future__ import annotations

from pathlib import Path

import pytest

from compressor.core.errors import CompressionError
from compressor.targets.onnxruntime_cuda import OnnxRuntimeCuda

onnxruntime = pytest.importorskip("onnxruntime")
REASON = OnnxRuntimeCuda().unavailable()


@pytest.mark.skipif(bool(REASON), reason=REASON)
def test_runs_on_the_gpu(onnx_file: Path) -> None:
    assert OnnxRuntimeCuda().runner(onnx_file, 2, 1)() is None
    assert OnnxRuntimeCuda().describe()["provider"] == "CUDAExecutionProvider"


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this build has the CUDA provider"
)
def test_the_reason_names_the_package_to_install() -> None:
    assert "pip install onnxruntime-gpu" in REASON


@pytest.mark.skipif(not REASON, reason="the GPU is there")
@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
def test_never_falls_back_to_the_cpu(onnx_file: Path) -> None:
    with pytest.raises(CompressionError, match=r"ONNX Runtime (chose|cannot load)"):
        OnnxRuntimeCuda().runner(onnx_file, 1, 1)
