"""Arithmetic with sizes, which ONNX writes as small tensors: Shape -> Gather -> Mul -> Concat -> Reshape.

It is done number by number: what the file computes from constant axes becomes a constant, and only what really varies
is computed by the module.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from compressor.core.errors import UnsupportedModel
from compressor.loading.programs.builder import Builder
from compressor.loading.programs.onnx_dtypes import torch_dtype
from compressor.loading.programs.onnx_node import OnnxNode, as_numbers
from compressor.loading.programs.values import Dim, Numbers, Value, calculate


def packed(build: Builder, numbers: Any, dtype: torch.dtype) -> Numbers | Value:
    """A tensor of these numbers: a constant if none of them varies."""
    if not isinstance(numbers, np.ndarray):
        items = numbers if isinstance(numbers, list) else [numbers]
        array = np.empty(len(items), dtype=object)
        array[:] = items
        numbers = array if isinstance(numbers, list) else array.reshape(())
    if any(isinstance(number, Dim) for number in numbers.reshape(-1)):
        return Numbers(numbers, dtype)
    return build.constant(torch.tensor(numbers.tolist(), dtype=dtype))


def _each(function: Callable[..., Any]) -> Callable[[OnnxNode], Any]:
    def handler(node: OnnxNode) -> Any:
        operands = [node.numbers(index) for index in range(len(node.inputs))]
        return np.frompyfunc(lambda *args: calculate(function, *args), len(operands), 1)(*(o.array for o in operands))

    return handler


def _divide(node: OnnxNode) -> Any:
    whole = not node.numbers(0).dtype.is_floating_point
    return _each(operator.floordiv if whole else operator.truediv)(node)


def _where(node: OnnxNode) -> Any:
    conditions, left, right = (node.numbers(index).array for index in range(3))
    if any(isinstance(item, Dim) for item in conditions.reshape(-1)):
        raise UnsupportedModel("it chooses a size by comparing sizes that vary; fix them with --input")
    return np.where(conditions.astype(bool), left, right)


def _cast(node: OnnxNode) -> Any:
    dtype = torch_dtype(node.attribute("to"))
    if dtype.is_floating_point:
        function: Callable[..., Any] = torch.sym_float
    else:
        function = bool if dtype == torch.bool else torch.sym_int
    return _each(function)(node)


def _gather(node: OnnxNode) -> Any:
    indices = np.array(node.constants(1), dtype=np.int64).reshape(node.numbers(1).array.shape)
    return np.take(node.numbers(0).array, indices, axis=node.attribute("axis", 0))


def _concat(node: OnnxNode) -> Any:
    return np.concatenate([node.numbers(i).array for i in range(len(node.inputs))], axis=node.attribute("axis"))


def _slice(node: OnnxNode) -> Any:
    array = node.numbers(0).array
    starts, stops = (
        (node.attribute("starts"), node.attribute("ends"))
        if "starts" in node.attributes
        else (node.constants(1), node.constants(2))
    )
    axes = node.listed("axes", 3) or list(range(len(starts)))
    steps = node.constants(4) if node.has(4) else [1] * len(starts)
    index = [slice(None)] * array.ndim
    for axis, start, stop, step in zip(axes, starts, stops, steps, strict=True):
        index[axis] = slice(start, None if step < 0 and stop < -len(array) else stop, step)
    return array[tuple(index)]


def _reshape(node: OnnxNode) -> Any:
    return node.numbers(0).array.reshape(node.constants(1))


def _squeeze(node: OnnxNode) -> Any:
    axes = node.listed("axes", 1)
    return np.squeeze(node.numbers(0).array, tuple(axes) if axes is not None else None)


def _unsqueeze(node: OnnxNode) -> Any:
    return np.expand_dims(node.numbers(0).array, tuple(node.listed("axes", 1) or ()))


def _expand(node: OnnxNode) -> Any:
    array = node.numbers(0).array
    return array + np.zeros(np.broadcast_shapes(array.shape, tuple(node.constants(1))), dtype=int)


def _product(node: OnnxNode) -> Any:
    return _reduce(node, operator.mul)


def _sum(node: OnnxNode) -> Any:
    return _reduce(node, operator.add)


def _reduce(node: OnnxNode, function: Callable[[Any, Any], Any]) -> Any:
    array = node.numbers(0).array
    total = array.reshape(-1)[0]
    for number in array.reshape(-1)[1:]:
        total = calculate(function, total, number)
    result = np.empty((1,) * array.ndim if node.attribute("keepdims", 1) else (), dtype=object)
    result[...] = total
    return result


def _same(node: OnnxNode) -> Any:
    return node.numbers(0).array


def _split(node: OnnxNode) -> Any:
    pieces = node.listed("split", 1)
    array, axis = node.numbers(0).array, node.attribute("axis", 0)
    if pieces is None:
        return np.array_split(array, node.n_outputs, axis)
    return np.split(array, np.cumsum(pieces)[:-1], axis)


_OPERATORS: dict[str, Callable[[OnnxNode], Any]] = {
    "Add": _each(operator.add),
    "Sub": _each(operator.sub),
    "Mul": _each(operator.mul),
    "Div": _divide,
    "Mod": _each(operator.mod),
    "Neg": _each(operator.neg),
    "Max": _each(torch.sym_max),
    "Min": _each(torch.sym_min),
    "Floor": _each(lambda number: number.__floor__()),
    "Equal": _each(operator.eq),
    "Greater": _each(operator.gt),
    "GreaterOrEqual": _each(operator.ge),
    "Less": _each(operator.lt),
    "LessOrEqual": _each(operator.le),
    "Not": _each(operator.not_),
    "Where": _where,
    "Cast": _cast,
    "Gather": _gather,
    "Concat": _concat,
    "Slice": _slice,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Expand": _expand,
    "ReduceProd": _product,
    "ReduceSum": _sum,
    "Identity": _same,
    "Split": _split,
}
_TRUTH = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not")
_FIRST_COUNTS = ("Gather", "Slice", "Reshape", "Squeeze", "Unsqueeze", "Expand", "Split")  # the others say how


def applies(node: OnnxNode) -> bool:
    """Whether this operator computes sizes that vary, and nothing but sizes goes into it."""
    given = [entry for entry in node.inputs if entry is not None]
    if node.op not in _OPERATORS or not any(isinstance(entry, Numbers) for entry in given):
        return False
    if node.op in _FIRST_COUNTS:
        return isinstance(given[0], Numbers)
    return all(as_numbers(entry) is not None for entry in given)


def compute(node: OnnxNode) -> Any:
    """The operator's result: numbers, or a constant where none of them varies."""
    result = _OPERATORS[node.op](node)
    dtype = _dtype(node)
    if isinstance(result, list):
        return [packed(node.build, piece, dtype) for piece in result]
    return packed(node.build, np.asarray(result, dtype=object), dtype)


def _dtype(node: OnnxNode) -> torch.dtype:
    if node.op in _TRUTH:
        return torch.bool
    if node.op == "Cast":
        return torch_dtype(node.attribute("to"))
    return node.numbers(1 if node.op == "Where" else 0).dtype
