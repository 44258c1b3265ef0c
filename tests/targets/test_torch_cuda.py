from __future__ import annotations

from pathlib import Path

import pytest

from compressor.targets.torch_cuda import TorchCuda

REASON = TorchCuda().unavailable()


@pytest.mark.skipif(bool(REASON), reason=REASON)
def test_runs_on_the_gpu(pt2_file: Path) -> None:
    assert TorchCuda().runner(pt2_file, 2, 1)() is None
    assert TorchCuda().describe()["device"]


@pytest.mark.skipif(not REASON, reason="the GPU is there")
def test_says_that_there_is_no_gpu() -> None:
    assert REASON == "PyTorch sees no CUDA device."
