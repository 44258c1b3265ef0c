from __future__ import annotations

from pathlib import Path

import pytest

from compressor.core.errors import CompressionError
from compressor.targets.openvino_gpu import OpenVinoGpu

pytest.importorskip("openvino")
REASON = OpenVinoGpu().unavailable()


@pytest.mark.skipif(bool(REASON), reason=REASON)
def test_runs_on_the_gpu(onnx_file: Path) -> None:
    assert OpenVinoGpu().runner(onnx_file, 2, 1)() is None
    assert OpenVinoGpu().describe()["device"]


@pytest.mark.skipif(not REASON, reason="the GPU is there")
def test_says_what_it_sees_and_never_falls_back(onnx_file: Path) -> None:
    assert "OpenVINO sees no GPU device (it sees: CPU" in REASON
    with pytest.raises(CompressionError):
        OpenVinoGpu().runner(onnx_file, 1, 1)
