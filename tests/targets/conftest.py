"""One tiny network as every kind of file that a target loads."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn


def save_onnx(path: Path, inputs: dict[str, tuple[int, list[int | str | None]]], nodes: list[onnx.NodeProto]) -> Path:
    """An ONNX file whose last node's last output is the graph's output; `inputs` is {name: (element type, shape)}."""
    values = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()]
    output = helper.make_tensor_value_info(nodes[-1].output[-1], TensorProto.FLOAT, None)
    weight = numpy_helper.from_array(torch.ones(4, 2).numpy(), "weight")
    graph = helper.make_graph(nodes, "tiny", values, [output], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """(batch, 4) to (batch, 2), dynamic batch."""
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    product = helper.make_node("MatMul", ["x", "weight"], ["y"])
    return save_onnx(path, {"x": (TensorProto.FLOAT, ["batch", 4])}, [product])


@pytest.fixture(scope="session")
def fixed_onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """(3, 4) to (3, 2)."""
    path = tmp_path_factory.mktemp("onnx") / "fixed.onnx"
    product = helper.make_node("MatMul", ["x", "weight"], ["y"])
    return save_onnx(path, {"x": (TensorProto.FLOAT, [3, 4])}, [product])


@pytest.fixture(scope="session")
def wild_onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """(batch, length, 4) to (batch, length, 2), both dynamic."""
    path = tmp_path_factory.mktemp("onnx") / "wild.onnx"
    product = helper.make_node("MatMul", ["x", "weight"], ["y"])
    return save_onnx(path, {"x": (TensorProto.FLOAT, ["batch", "length", 4])}, [product])


@pytest.fixture(scope="session")
def ir_file(onnx_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dynamic one as OpenVINO IR."""
    openvino = pytest.importorskip("openvino")
    path = tmp_path_factory.mktemp("ir") / "tiny.xml"
    openvino.save_model(openvino.convert_model(onnx_file), path)
    return path


class Tiny(nn.Module):
    """A tensor and a mask in, so that positional and keyword arguments both occur."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor, *, mask: torch.Tensor) -> torch.Tensor:
        return self.linear(x) * mask


@pytest.fixture(scope="session")
def pt2_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`Tiny` as a torch.export program with a dynamic batch."""
    path = tmp_path_factory.mktemp("pt2") / "tiny.pt2"
    batch = torch.export.Dim("batch", min=1, max=64)
    shapes = {"x": {0: batch}, "mask": {0: batch}}
    with warnings.catch_warnings():  # torch.export's own notices
        warnings.simplefilter("ignore")
        program = torch.export.export(
            Tiny().eval(), (torch.randn(2, 4),), {"mask": torch.ones(2, 1, dtype=torch.int64)}, dynamic_shapes=shapes
        )
        torch.export.save(program, path)
    return path
