from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from compressor.core.errors import InvalidOption, ModelFileError
from compressor.targets.torch_cpu import TorchCpu


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_runs_with_any_batch_and_sets_the_threads(pt2_file: Path, batch_size: int) -> None:
    run = TorchCpu().runner(pt2_file, batch_size, 2)
    assert run() is None
    assert torch.get_num_threads() == 2


def test_a_contradicting_shape_is_refused(pt2_file: Path) -> None:
    with pytest.raises(InvalidOption, match=r"torch:cpu: `shapes\[x\]`"):
        TorchCpu(shapes={"x": (1, 5)}).runner(pt2_file, 1, 1)


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_a_file_that_is_no_program_gets_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.pt2"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"bad\.pt2: torch\.export cannot load it"):
        TorchCpu().runner(path, 1, 1)


def test_a_zip_that_is_no_program_gets_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "bad.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ModelFileError, match="cannot load it"):
        TorchCpu().runner(path, 1, 1)
