"""What is special to ONNX: old and new opsets, spelled-out norms, folded batch norms, weights stored once, names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from compressor.loading.model_file import load_model
from compressor.loading.programs.onnx_graph import handlers
from compressor.loading.programs.onnx_names import readable, scope_of
from tests.loading.programs.networks import Images, network, randomised


def test_enough_operators() -> None:
    assert len(handlers()) > 130


@pytest.mark.parametrize("opset", [9, 11, 13, 15, 18, 20])
@pytest.mark.parametrize("name", ["activations", "pools", "shuffle", "dense", "group_norm", "layer_norm", "patches"])
def test_opsets(name: str, opset: int, write: Callable[..., Path]) -> None:
    module, inputs = network(name)
    if name == "activations" and opset < 12:
        module.middle = module.middle[:8]  # type: ignore[index,operator,assignment]
    loaded = load_model(write("onnx", module, inputs, opset_version=opset)).module
    with torch.no_grad():
        torch.testing.assert_close(loaded(*inputs), module(*inputs), rtol=1e-4, atol=1e-5)
    for kind in (nn.LayerNorm, nn.GroupNorm, nn.Linear, nn.Conv2d):  # norms are spelled out before opset 17 and 21
        n = sum(isinstance(part, kind) for part in module.modules())
        assert sum(isinstance(part, kind) for part in loaded.modules()) == n


def test_batch_norms_that_the_exporter_kept(write: Callable[..., Path]) -> None:
    module, inputs = network("batch_norm")
    keep = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    loaded = load_model(write("onnx", module, inputs, **keep)).module
    assert loaded.state_dict().keys() == module.state_dict().keys()
    for name, tensor in module.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    (norm,) = (part for part in loaded.modules() if isinstance(part, nn.BatchNorm2d))
    assert norm.momentum == pytest.approx(0.1) and norm.eps == pytest.approx(1e-5)
    loaded.train()
    before = norm.running_mean.clone()
    loaded(*inputs).sum().backward()
    assert not torch.equal(norm.running_mean, before) and norm.weight.grad is not None


def test_batch_norms_that_the_exporter_folded(write: Callable[..., Path]) -> None:
    """They are in the convolutions, whose places in the module are still known."""
    module, inputs = network("batch_norm")
    loaded = load_model(write("onnx", module, inputs)).module
    assert not [part for part in loaded.modules() if isinstance(part, nn.BatchNorm2d)]
    assert {name for name, _ in loaded.named_parameters()} == {
        f"{layer}.{leaf}" for layer in ("stem", "middle.0", "head") for leaf in ("weight", "bias")
    }


class TwoNorms(nn.Module):
    """Norms as they are made; exporters store their equal weights once."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(6), nn.LayerNorm(6)
        self.between = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.between(self.first(x)))


@pytest.mark.parametrize("form", ["onnx", "dynamo"])
def test_weights_that_are_equal_by_chance_are_not_shared(form: str, write: Callable[..., Path]) -> None:
    module = TwoNorms().eval()
    loaded = load_model(write(form, module, (torch.randn(2, 6),))).module
    assert {name for name, _ in loaded.named_parameters()} == {name for name, _ in module.named_parameters()}
    norms = [part for part in loaded.modules() if isinstance(part, nn.LayerNorm)]
    assert norms[0].weight is not norms[1].weight


class Siamese(nn.Module):
    """One convolution for two images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.conv(x) * self.conv(z).mean((2, 3), keepdim=True)


def test_a_layer_that_is_called_twice_is_one_layer(write: Callable[..., Path]) -> None:
    loaded = load_model(write("onnx", Siamese().eval(), (torch.randn(2, 3, 8, 8), torch.randn(2, 3, 6, 6)))).module
    assert sum(isinstance(part, nn.Conv2d) for part in loaded.modules()) == 1


class Masked(nn.Module):
    """A mask, a table of learned numbers, and a scale."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.register_buffer("mask", torch.triu(torch.full((5, 5), -100.0), 1))
        self.table = nn.Parameter(torch.randn(5, 6))

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x) + self.table
        return ((x @ x.transpose(1, 2)) * 0.25 + self.mask).softmax(-1) @ x


def test_parameters_and_masks_are_told_apart(write: Callable[..., Path]) -> None:
    loaded = load_model(write("onnx", Masked().eval(), (torch.randn(2, 5, 6),))).module
    assert sorted(tuple(parameter.shape) for parameter in loaded.parameters()) == [(5, 6), (6,), (6, 6)]
    assert [tuple(buffer.shape) for buffer in loaded.buffers()] == [(5, 5)]


def test_names_in_the_file() -> None:
    assert scope_of(helper.make_node("Conv", [], [], name="/layer1/layer1.0/conv1/Conv")) == "layer1.0.conv1"
    assert scope_of(helper.make_node("Conv", [], [], name="Conv_3")) == ""
    assert [readable(name) for name in ("a.weight", "class_token", "onnx::Conv_5", "val_3", "/a/Constant", "12")] == [
        *("a.weight", "class_token"),
        *("", "", "", ""),
    ]


def floats(*values: float) -> Any:
    return np.array(values, np.float32)


def whole(*values: int) -> Any:
    return np.array(values, np.int64)


def ones(*shape: int) -> Any:
    return np.ones(shape, np.float32)


IMAGE = ["n", 4, 6, 7]
RULE = "coordinate_transformation_mode"
# Operator, constants, attributes; then, where they are others, the opset and the input's shape.
CASES: dict[str, tuple[Any, ...]] = {
    "conv, same padding": ("Conv", {"w": ones(2, 4, 3, 2)}, {"auto_pad": "SAME_UPPER"}),
    "conv, uneven padding": ("Conv", {"w": ones(2, 4, 3, 3)}, {"pads": [0, 1, 2, 0]}),
    "transposed, same": ("ConvTranspose", {"w": ones(4, 2, 3, 3)}, {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "transposed, uneven": ("ConvTranspose", {"w": ones(4, 2, 4, 4)}, {"strides": [2, 2], "pads": [1, 0, 0, 1]}),
    "average, uneven": ("AveragePool", {}, {"kernel_shape": [2, 3], "pads": [0, 1, 1, 0]}),
    "max, uneven": ("MaxPool", {}, {"kernel_shape": [3, 3], "pads": [2, 0, 0, 2], "strides": [2, 2]}),
    "powers, pooled": ("LpPool", {}, {"kernel_shape": [2, 2], "p": 3}),
    "softmax, flattened": ("Softmax", {}, {"axis": 1}, 11),
    "gemm": ("Gemm", {"w": ones(4, 3), "c": floats(1, 2, 3)}, {"alpha": 0.5, "beta": 2.0}, 17, ["n", 4]),
    "slice, backwards": ("Slice", {"a": whole(-1, 3), "b": whole(-99, 0), "c": whole(2, 3), "d": whole(-1, -2)}, {}),
    "depth to space": ("DepthToSpace", {}, {"blocksize": 2, "mode": "DCR"}),
    "space to depth": ("SpaceToDepth", {}, {"blocksize": 2}, 17, ["n", 2, 6, 8]),
    "nearest, rounded": ("Resize", {"": None, "s": floats(1, 1, 1.5, 0.7)}, {RULE: "half_pixel"}),
    "nearest, corners": ("Resize", {"": None, "s": floats(1, 1, 1.5, 2)}, {RULE: "align_corners"}),
    "nearest, ceiling": ("Resize", {"": None, "s": floats(1, 1, 2, 2)}, {RULE: "asymmetric", "nearest_mode": "ceil"}),
    "upsample": ("Upsample", {"s": floats(1, 1, 2, 3)}, {}, 9),
    "local response": ("LRN", {}, {"size": 3, "alpha": 0.1}),
    "mean and variance": ("MeanVarianceNormalization", {}, {}, 13),
    "gather, two axes": ("Gather", {"i": np.array([[0, -1], [2, 2]])}, {"axis": 1}),
    "flatten, third axis": ("Flatten", {}, {"axis": 3}),
    "tile": ("Tile", {"r": whole(1, 2, 1, 3)}, {}),
    "hard sigmoid": ("HardSigmoid", {}, {"alpha": 0.3}),
    "shrink": ("Shrink", {}, {"bias": 0.2, "lambd": 0.4}),
    "sum of logs": ("ReduceLogSumExp", {}, {"axes": [1, 3], "keepdims": 0}),
    "running sum": ("CumSum", {"a": np.array(2)}, {"exclusive": 1, "reverse": 1}),
    "triangle": ("Trilu", {"k": np.array(1)}, {"upper": 0}),
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_corners_of_operators(case: str, tmp_path: Path) -> None:
    """`load_model` compares the outputs with ONNX Runtime's, and refuses what differs."""
    op, arrays, attributes, *others = CASES[case]
    opset, shape = (*others, *(17, IMAGE)[len(others) :])
    node = helper.make_node(op, ["x", *arrays], ["y"], name="it", **attributes)
    weights = [numpy_helper.from_array(value, name) for name, value in arrays.items() if name]
    onnx.save(model_of([node], weights, shape, opset), str(tmp_path / "model.onnx"))
    notes: list[str] = []
    loaded = load_model(tmp_path / "model.onnx", note=notes.append)
    assert not notes and loaded.inputs.interface.dynamic_axes == ({0: "n"},)


def model_of(nodes: list[Any], weights: list[Any], shape: list[Any], opset: int) -> onnx.ModelProto:
    """Of the input x and the output y."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "graph", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def test_groups_without_weights(write: Callable[..., Path]) -> None:
    module = randomised(Images(nn.GroupNorm(2, 8, affine=False)))
    loaded = load_model(write("onnx", module, (torch.randn(2, 3, 8, 8),))).module
    (norm,) = (part for part in loaded.modules() if isinstance(part, nn.GroupNorm))
    assert norm.num_groups == 2 and norm.weight is None


def test_branches_that_depend_on_sizes_alone(tmp_path: Path) -> None:
    """torch writes an `If` where it cannot tell whether an axis has length 1."""

    def branch(op: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(f"out_{op}", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(op, ["x"], [f"out_{op}"])], op, [], [out])

    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "axis"], ["length"]),
        helper.make_node("Equal", ["length", "four"], ["yes"]),
        helper.make_node("If", ["yes"], ["y"], then_branch=branch("Sigmoid"), else_branch=branch("Relu")),
    ]
    weights = [numpy_helper.from_array(np.array(1), "axis"), numpy_helper.from_array(np.array(4), "four")]
    onnx.save(model_of(nodes, weights, ["n", 4], 17), str(tmp_path / "model.onnx"))
    loaded = load_model(tmp_path / "model.onnx").module
    data = torch.randn(3, 4)
    assert torch.equal(loaded(data), data.sigmoid())
