"""Small files that show what a runtime can do on this machine: its arithmetic, its memory, its overhead, one layer.

ONNX files are written node by node; a runtime that reads programs gets the same layers as a torch.export program.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx
    from torch import nn

_OPSET = 17
_IR_VERSION = 8


@dataclass(frozen=True)
class Layer:
    """A convolution (or, with `kernel` None, a product with a matrix) as a runtime sees it."""

    inputs: int  # channels or features
    outputs: int
    groups: int = 1
    kernel: tuple[int, ...] | None = None  # one size an axis
    stride: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()  # per axis at its beginning, then per axis at its end; never negative
    sizes: tuple[int, ...] = ()  # of the input's axes behind the channels; for a product, all axes before the features
    batch: int = 1

    @property
    def repeatable(self) -> bool:
        """Whether its result can be its input."""
        plain = all(step == 1 for step in self.stride)
        same = all(a + b == k - 1 for a, b, k in zip(*self._sides, self.kernel or (), strict=False))
        return self.inputs == self.outputs and plain and same

    @property
    def _sides(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        n = len(self.pads) // 2
        return self.pads[:n], self.pads[n:]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """With the batch."""
        if self.kernel is None:
            return (self.batch, *self.sizes, self.inputs)
        return (self.batch, self.inputs, *self.sizes)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """(outputs, inputs per group, *kernel)."""
        return (self.outputs, self.inputs // self.groups, *(self.kernel or ()))

    def widened(self, inputs: int, outputs: int) -> Layer:
        """The same with other widths; a depthwise one stays depthwise."""
        groups = inputs if self.groups == self.inputs else self.groups
        return replace(self, inputs=inputs, outputs=outputs, groups=groups)


PEAKS = (  # large enough for full speed, small enough for the cache
    Layer(128, 128, kernel=(3, 3), stride=(1, 1), pads=(1, 1, 1, 1), sizes=(28, 28)),
    Layer(768, 768, sizes=(256,)),
)
TINY = Layer(8, 8, kernel=(1, 1), stride=(1, 1), pads=(0, 0, 0, 0), sizes=(1, 1))  # does next to nothing
STREAM = Layer(4096, 4096)  # reads 64 MiB of weights, each once
COPY_SHAPE = (1, 16, 1024, 1024)  # 64 MiB of float32: more than caches hold


def write_layer(layer: Layer, path: Path, times: int = 1) -> Path:
    """A file of `times` such layers one behind the other, each with weights of its own; the suffix says which kind."""
    generator = np.random.default_rng(0)
    scale = (1.0 / np.prod(layer.weight_shape[1:])) ** 0.5
    weights = [(generator.standard_normal(layer.weight_shape) * scale).astype(np.float32) for _ in range(times)]
    if path.suffix == ".pt2":
        _save_program([_module(layer, weight) for weight in weights], layer.input_shape, path)
    else:
        from onnx import helper, numpy_helper

        nodes, initializers = [], []
        for i, weight in enumerate(weights):
            if layer.kernel is None:
                weight = np.ascontiguousarray(weight.T)
                nodes.append(helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"], name=f"layer{i}"))
            else:
                attributes = {"group": layer.groups, "pads": layer.pads, "strides": layer.stride}
                nodes.append(
                    helper.make_node("Conv", [f"x{i}", f"w{i}"], [f"x{i + 1}"], name=f"layer{i}", **attributes)
                )
            initializers.append(numpy_helper.from_array(weight, f"w{i}"))
        _save_onnx(nodes, initializers, layer.input_shape, path)
    return path


def write_copy(path: Path) -> Path:
    """A file that reads `COPY_SHAPE` and writes as much: one elementwise operator."""
    if path.suffix == ".pt2":
        from torch import nn

        _save_program([nn.ReLU()], COPY_SHAPE, path)
    else:
        from onnx import helper

        _save_onnx([helper.make_node("Relu", ["x0"], ["x1"], name="copy")], [], COPY_SHAPE, path)
    return path


def _save_onnx(
    nodes: list[onnx.NodeProto], initializers: list[onnx.TensorProto], shape: tuple[int, ...], path: Path
) -> None:
    import onnx
    from onnx import TensorProto, helper

    given = helper.make_tensor_value_info("x0", TensorProto.FLOAT, shape)
    result = helper.make_tensor_value_info(f"x{len(nodes)}", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "probe", [given], [result], initializers)
    opset = [helper.make_opsetid("", _OPSET)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=_IR_VERSION), path)


def _module(layer: Layer, weight: np.ndarray) -> nn.Module:
    import torch
    from torch import nn

    module: nn.Module
    if layer.kernel is None:
        module = nn.Linear(layer.inputs, layer.outputs, bias=False)
    else:
        kind: Any = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[len(layer.kernel)]
        pad: Any = {1: nn.ConstantPad1d, 2: nn.ConstantPad2d, 3: nn.ConstantPad3d}[len(layer.kernel)]
        before, after = layer._sides
        symmetric = kind(
            layer.inputs, layer.outputs, layer.kernel, layer.stride, before, groups=layer.groups, bias=False
        )
        extra = [size for a, b in reversed(list(zip(before, after, strict=True))) for size in (0, b - a)]
        module = nn.Sequential(pad(tuple(extra), 0.0), symmetric) if any(extra) else symmetric
    with torch.no_grad():
        next(module.parameters()).copy_(torch.from_numpy(weight))
    return module


def _save_program(modules: list[nn.Module], shape: tuple[int, ...], path: Path) -> None:
    import torch
    from torch import nn

    with warnings.catch_warnings():  # torch.export's own notices
        warnings.simplefilter("ignore")
        program = torch.export.export(nn.Sequential(*modules).eval(), (torch.zeros(shape),))
        torch.export.save(program, path)
