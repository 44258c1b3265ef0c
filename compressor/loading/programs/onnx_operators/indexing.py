"""Operators that pick elements by number, and tensors made of numbers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch.nn import functional

from compressor.core.errors import UnsupportedModel
from compressor.loading.programs import layers, sizes
from compressor.loading.programs.builder import check_size
from compressor.loading.programs.onnx_dtypes import torch_dtype
from compressor.loading.programs.onnx_node import OnnxNode, as_numbers
from compressor.loading.programs.onnx_operators._helpers import Handler
from compressor.loading.programs.values import Dim, Value

_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _gather(node: OnnxNode) -> Value:
    build, x, indices = node.build, node.value(0), node.inputs[1]
    axis = node.attribute("axis", 0) % max(x.ndim, 1)
    known = None if indices is None else as_numbers(indices)
    if known is not None and not any(isinstance(item, Dim) for item in known.array.reshape(-1)):
        positions = [int(item) for item in known.array.reshape(-1)]
        if known.array.ndim == 0:
            return build.call(torch.select, x, axis, positions[0])
        steps = {after - before for before, after in pairwise(positions)}
        if known.array.ndim == 1 and steps <= {1} and positions and positions[0] >= 0:
            return sizes.slice_(build, x, axis, positions[0], positions[-1] + 1)
    index = node.value(1)
    if x.constant and not index.constant and axis == 0 and x.ndim == 2:
        return layers.embedding(build, index, x)
    if (
        x.ndim == 1 and (index.fixed or index.constant) and _counts_up(node, x, index)
    ):  # a reshape, in the words of torch's exporter
        return sizes.reshape(build, x, build.shape(index))
    index = _counted_from_the_front(node, index, int(x.tensor.shape[axis]))
    if index.ndim == 1:
        return build.call(torch.index_select, x, axis, index)
    flat = build.call(torch.index_select, x, axis, build.call(torch.flatten, index))
    shape = build.shape(x)
    return sizes.reshape(build, flat, [*shape[:axis], *build.shape(index), *shape[axis + 1 :]])


def _counts_up(node: OnnxNode, x: Value, index: Value) -> bool:
    """Whether the indices are 0, 1, 2, ... up to the end: in every run, or in the one with the file's own batch."""
    runs = range(node.build.n_runs if node.build.frozen_batch is None else 1)
    return all(torch.equal(index.run(run).reshape(-1), torch.arange(len(x.run(run)))) for run in runs)


def _counted_from_the_front(node: OnnxNode, index: Value, length: int) -> Value:
    """torch.index_select knows no negative numbers."""
    if not index.constant:
        return index
    whole = torch.where(index.tensor < 0, index.tensor + length, index.tensor)
    return index if torch.equal(whole, index.tensor) else node.build.constant(whole, index.name)


def _gather_elements(node: OnnxNode) -> Value:
    x, axis = node.value(0), node.attribute("axis", 0)
    return node.build.call(torch.gather, x, axis, _whole(node, node.value(1), int(x.tensor.shape[axis])))


def _whole(node: OnnxNode, index: Value, length: int) -> Value:
    index = _counted_from_the_front(node, index, length)
    return index if index.dtype == torch.int64 else node.build.call(torch.Tensor.to, index, torch.int64)


def _gather_nd(node: OnnxNode) -> Value:
    if node.attribute("batch_dims", 0):
        raise UnsupportedModel("it gathers with batch_dims, which is not covered")
    return node.build.call(torch.ops.aten.index.Tensor, node.value(0), _columns(node, node.value(1)))


def _columns(node: OnnxNode, indices: Value) -> list[Value]:
    n = int(indices.tensor.shape[-1])
    return [node.build.call(torch.select, indices, -1, column) for column in range(n)]


def _scatter_elements(node: OnnxNode) -> Value:
    build, x, axis = node.build, node.value(0), node.attribute("axis", 0)
    index, updates = _whole(node, node.value(1), int(x.tensor.shape[axis])), node.value(2)
    how = node.attribute("reduction", "none")
    if how == "none":
        return build.call(torch.scatter, x, axis, index, updates)
    return build.call(torch.scatter_reduce, x, axis, index, updates, _REDUCTIONS[how])


def _scatter_nd(node: OnnxNode) -> Value:
    how = node.attribute("reduction", "none")
    if how not in ("none", "add"):
        raise UnsupportedModel(f"it scatters with the reduction '{how}', which is not covered")
    columns = _columns(node, node.value(1))
    return node.build.call(torch.ops.aten.index_put.default, node.value(0), columns, node.value(2), how == "add")


def _constant_of_shape(node: OnnxNode) -> Value:
    value = node.attribute("value")
    number = value.reshape(-1)[0].item() if value is not None else 0.0
    return sizes.full(node.build, node.sizes(0), number, value.dtype if value is not None else torch.float32)


def _range(node: OnnxNode) -> Value:
    start, stop, step = (node.sizes(index)[0] for index in range(3))
    return sizes.arange(node.build, start, stop, step, node.numbers(0).dtype)


def _one_hot(node: OnnxNode) -> Value:
    build, (depth,), axis = node.build, node.constants(1), node.attribute("axis", -1)
    off, on = node.constants(2)
    indices = node.value(0)
    check_size([*indices.tensor.shape, depth])
    whole = build.call(torch.remainder, build.call(torch.Tensor.to, indices, torch.int64), int(depth))
    hot = build.call(functional.one_hot, whole, int(depth))
    if axis != -1 and axis != indices.ndim:
        hot = build.call(torch.movedim, hot, -1, axis)
    hot = build.call(torch.Tensor.to, hot, node.value(2).dtype)
    return hot if (off, on) == (0, 1) else build.call(torch.add, build.call(torch.mul, hot, on - off), off)


def _triangle(node: OnnxNode) -> Value:
    diagonal = int(node.constants(1)[0]) if node.has(1) else 0
    return node.build.call(torch.triu if node.attribute("upper", 1) else torch.tril, node.value(0), diagonal)


def _eye(node: OnnxNode) -> Value:
    x = node.value(0)
    rows, columns = (int(size) for size in x.tensor.shape)
    kind = node.attribute("dtype")
    k = int(node.attribute("k", 0))
    grid = torch.diag(torch.ones(max(rows, columns) + abs(k)), k)[:rows, :columns]
    return node.build.constant(grid.to(torch_dtype(kind) if kind is not None else x.dtype))


def _grid_sample(node: OnnxNode) -> Value:
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(
        node.attribute("mode", "linear"), node.attribute("mode", "linear")
    )
    padding, corners = node.attribute("padding_mode", "zeros"), bool(node.attribute("align_corners", 0))
    return node.build.call(functional.grid_sample, node.value(0), node.value(1), mode, padding, corners)


def _constant(node: OnnxNode) -> Any:
    for name in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        if name in node.attributes:
            given = node.attributes[name]
            if isinstance(given, torch.Tensor):
                return node.build.constant(given)
            kind = torch.float32 if "float" in name else torch.int64
            return node.build.constant(torch.tensor(given, dtype=kind))
    raise UnsupportedModel("it is a constant of strings or a sparse one, which PyTorch models do not have")


HANDLERS: dict[str, Handler] = {
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "ScatterElements": _scatter_elements,
    "Scatter": _scatter_elements,
    "ScatterND": _scatter_nd,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "OneHot": _one_hot,
    "Trilu": _triangle,
    "EyeLike": _eye,
    "GridSample": _grid_sample,
    "Constant": _constant,
}
