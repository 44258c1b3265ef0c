"""Files as users have them, and the command line in an empty folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.cli.command_line import INPUT, CommandLine, Ended


def small_net(n_classes: int = 4) -> nn.Sequential:
    """For 3x8x8 images."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, n_classes),
    ).eval()


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model files and data; nobody writes into it."""
    folder = tmp_path_factory.mktemp("files")
    network = small_net()
    torch.save(network, folder / "net.pt")
    torch.save(network.state_dict(), folder / "weights.pt")
    torch.save(nn.Sequential(nn.ReLU(), nn.Flatten()), folder / "nothing.pt")
    (folder / "my_model.py").write_text(
        "from torch import nn\n\n\ndef make():\n    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())\n"
    )
    (folder / "loud.py").write_text(
        "import os\nfrom tests.cli.conftest import small_net as make\nprint('hello')\nos.system('echo hello')\n"
    )
    (folder / "script.py").write_text("import sys\nsys.exit('usage: script.py DATA')\n")
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (64, 3, 8, 8), dtype=np.uint8)
    np.savez(folder / "images.npz", images=images, labels=np.arange(64) % 4)
    np.savez(folder / "unlabelled.npz", images=images)
    return folder


@pytest.fixture
def compress(tmp_path: Path) -> CommandLine:
    """The command line in an empty folder."""
    return CommandLine(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, files: Path) -> tuple[Path, Ended]:
    """A finished run with an ONNX file, and what the command said; copy the folder before changing it."""
    folder = tmp_path_factory.mktemp("finished")
    ended = CommandLine(folder).run(files / "net.pt", *INPUT, "--export", "onnx", "--on", "none", "-o", "run")
    assert ended.code == 0, ended
    return folder / "run", ended
