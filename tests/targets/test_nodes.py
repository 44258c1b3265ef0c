"""The runtimes' nodes bear the names of the user's modules, whatever was fused."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from compressor.targets import load_target
from exporters.export import export
from exporters.signature import ExampleInputs

FILES = [
    ("onnxruntime:cpu", "model.onnx"),
    ("openvino:cpu", "model.onnx"),
    ("openvino:cpu", "model.xml"),
    ("torch:cpu", "model.pt2"),
]


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(x + self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(32), nn.MultiheadAttention(32, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(x)


class Both(nn.Module):
    """Convolutions, then a transformer, then a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.layer1 = nn.Conv2d(3, 16, 3, padding=1), nn.Sequential(Residual(), Residual())
        self.patches = nn.Conv2d(16, 32, 4, 4)
        self.encoder, self.head = nn.ModuleList([Encoder(), Encoder()]), nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(self.layer1(self.stem(x))).flatten(2).transpose(1, 2)
        for block in self.encoder:
            x = block(x)
        return self.head(x.mean(1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model, place = Both().eval(), tmp_path_factory.mktemp("both")
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export(model, ExampleInputs.of(torch.randn(1, 3, 16, 16), model), ["onnx", "openvino", "pt2"], place)
    return place


@pytest.mark.parametrize(("target", "file"), FILES)
def test_nodes_are_found_again_in_the_users_modules(target: str, file: str, folder: Path) -> None:
    whole_s, nodes = load_target(target)().nodes(folder / file, 2, 1, 3)
    assert len(whole_s) == 3
    modules = {name for name, _ in Both().named_modules()} | {"(layout)"}
    assert {node.module for node in nodes} <= modules
    convolutions = [node.module for node in nodes if "conv" in node.operator.lower()]
    assert sorted(convolutions) == sorted(["stem", *(f"layer1.{i}.conv{k}" for i in (0, 1) for k in (1, 2)), "patches"])
    named = {node.module for node in nodes}
    for number in range(2):
        assert {f"encoder.{number}.mlp.0", f"encoder.{number}.mlp.2"} <= named
        assert any(name.startswith(f"encoder.{number}.attention") for name in named)
    assert "head" in named


@pytest.mark.parametrize(("target", "file"), FILES)
def test_shapes_are_those_of_the_batch(target: str, file: str, folder: Path) -> None:
    _, nodes = load_target(target)().nodes(folder / file, 5, 1, 1)
    first = next(node for node in nodes if node.module == "stem" and "conv" in node.operator.lower())
    assert (first.inputs[0], first.inputs[1], first.outputs[0]) == ((5, 3, 16, 16), (16, 3, 3, 3), (5, 16, 16, 16))
    assert first.precision in ("float", "f32", "float32")
