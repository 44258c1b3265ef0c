"""Names of nodes that hold the user's modules, through export and simplification."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from exporters.export import export
from exporters.module_names import NodeNames, owner_of_weights, scope_in, scope_noted, spread
from exporters.signature import ExampleInputs


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.qkv(x).reshape(x.shape[0], 8, 3, 2, 8).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-2, -1)).softmax(-1)
        return self.proj((weights @ value).transpose(1, 2).reshape(x.shape[0], 8, 16))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(16), Attention()
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm(x))
        return x + self.mlp(x)


class Stem(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.blocks = nn.ModuleList([Block(), Block()])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn(self.conv(x)))
        x = x.flatten(2).transpose(1, 2)[:, :8]
        for block in self.blocks:
            x = block(x)
        return x


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> list[onnx.NodeProto]:
    torch.manual_seed(0)
    model = Stem().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files = export(model, ExampleInputs.of(torch.randn(1, 3, 8, 8), model), ["onnx"], tmp_path_factory.mktemp("x"))
    loaded: Path = next(file.path for file in files if file.path.suffix == ".onnx")
    return list(onnx.load(loaded).graph.node)


def test_every_node_of_a_file_says_whose_it_is(nodes: list[onnx.NodeProto]) -> None:
    modules = {name for name, _ in Stem().named_modules()}
    assert all(node.name.startswith("/") and scope_in(node.name) in modules for node in nodes)
    assert len({node.name for node in nodes}) == len(nodes)


def test_weights_are_where_they_belong(nodes: list[onnx.NodeProto]) -> None:
    products = [scope_in(node.name) for node in nodes if node.op_type in ("Gemm", "MatMul")]
    for number in range(2):
        block = f"blocks.{number}"
        assert [name for name in products if name.startswith(block)] == [
            f"{block}.attention.qkv",
            f"{block}.attention",
            f"{block}.attention",
            f"{block}.attention.proj",
            f"{block}.mlp.0",
            f"{block}.mlp.2",
        ]
    assert [scope_in(node.name) for node in nodes if node.op_type == "Conv"] == ["conv"]  # the norm is folded into it


def test_no_note_of_torch_is_left(nodes: list[onnx.NodeProto]) -> None:
    assert not any(node.metadata_props or node.doc_string for node in nodes)


def test_scopes_are_read() -> None:
    assert scope_in("/Add") == scope_in("Add") == scope_in("") == ""
    assert scope_in("/block/block.0/mlp/Gemm") == "block.0.mlp"
    assert scope_noted("['', '_empty_nn_module_stack_from_metadata_hook', 'sym_size']") == ""
    assert scope_noted("") == ""
    assert owner_of_weights(["x", "fc.bias"]) == "fc"
    assert owner_of_weights(["weight", "positions"]) == ""


def test_names_are_given_once() -> None:
    names = NodeNames()
    assert [names.make("a.b", "Conv") for _ in range(3)] == ["/a.b/Conv", "/a.b/Conv_1", "/a.b/Conv_2"]
    assert names.make("", "Add") == "/Add"


def test_a_node_without_a_module_belongs_to_its_reader() -> None:
    # a -> b -> c; b is known, d is read by nobody
    inputs, outputs = [["x"], ["1"], ["2"], ["x"]], [["1"], ["2"], ["3"], ["4"]]
    known = {1: "middle", 2: "last"}
    assert spread(inputs, outputs, known.get) == ["middle", "middle", "last", ""]
