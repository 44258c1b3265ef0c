import shutil

import pytest
import torch

import compressor
from tests.networks import images, seeded
from tests.runs import digits


@pytest.fixture(scope="session")
def compressed():
    """A run of a live module with an ONNX file."""
    return compressor.compress(seeded(digits.network), images(channels=1), export=["onnx"], ratio=0.5, round_to=1)


@pytest.fixture(scope="session")
def finished(compressed, tmp_path_factory):
    """Its run folder; nobody writes into it."""
    return compressed.save(tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def copied(finished, tmp_path):
    """A copy that may be damaged."""
    return shutil.copytree(finished, tmp_path / "copy")


@pytest.fixture
def pixels():
    return torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(2))
