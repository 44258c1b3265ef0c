"""Sums, means, extremes and orders along axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from compressor.loading.programs.onnx_node import OnnxNode
from compressor.loading.programs.onnx_operators._helpers import Handler, normal_axes
from compressor.loading.programs.values import Value


def _axes(node: OnnxNode, x: Value) -> list[int] | None:
    """None: there is nothing to reduce."""
    axes = node.listed("axes", 1)
    if not axes:
        return None if node.attribute("noop_with_empty_axes", 0) else list(range(x.ndim))
    return normal_axes(axes, x.ndim)


def _reduce(function: Callable[..., Any]) -> Handler:
    """`function(x, axes, keepdim)`."""

    def handler(node: OnnxNode) -> Value:
        x = node.value(0)
        axes = _axes(node, x)
        if axes is None:
            return x
        return node.build.call(function, x, axes, bool(node.attribute("keepdims", 1)))

    return handler


def _with(before: Callable[..., Any], after: Callable[..., Any] | None = None) -> Handler:
    """A sum with a function of each element before it, and one of the sum after it."""

    def handler(node: OnnxNode) -> Value:
        x = node.value(0)
        axes = _axes(node, x)
        inner = node.build.call(before, x)
        if axes is not None:
            inner = node.build.call(torch.sum, inner, axes, bool(node.attribute("keepdims", 1)))
        return node.build.call(after, inner) if after is not None else inner

    return handler


def _log_sum(node: OnnxNode) -> Value:
    return node.build.call(torch.log, _reduce(torch.sum)(node))


def _product(node: OnnxNode) -> Value:
    x = node.value(0)
    axes = _axes(node, x)
    if axes is None:
        return x
    for axis in sorted(axes, reverse=True):
        x = node.build.call(torch.prod, x, axis, bool(node.attribute("keepdims", 1)))
    return x


def _place(function: Callable[..., Any]) -> Handler:
    def handler(node: OnnxNode) -> Value:
        build, x = node.build, node.value(0)
        axis, keep = node.attribute("axis", 0), bool(node.attribute("keepdims", 1))
        if not node.attribute("select_last_index", 0):
            return build.call(function, x, axis, keep)
        last = int(x.tensor.shape[axis]) - 1
        return build.call(torch.rsub, build.call(function, build.call(torch.flip, x, [axis]), axis, keep), last)

    return handler


def _cumulative(node: OnnxNode) -> Value:
    build, x, (axis,) = node.build, node.value(0), node.constants(1)
    if node.attribute("reverse", 0):
        x = build.call(torch.flip, x, [axis])
    total = build.call(torch.cumsum, x, axis)
    if node.attribute("exclusive", 0):
        total = build.call(torch.sub, total, x)
    return build.call(torch.flip, total, [axis]) if node.attribute("reverse", 0) else total


def _top(node: OnnxNode) -> list[Value]:
    (k,) = node.sizes(1) if node.has(1) else [node.attribute("k")]
    largest, in_order = bool(node.attribute("largest", 1)), bool(node.attribute("sorted", 1))
    return node.build.call(torch.topk, node.value(0), k, node.attribute("axis", -1), largest, in_order)


HANDLERS: dict[str, Handler] = {
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMin": _reduce(torch.amin),
    "ReduceLogSumExp": _reduce(torch.logsumexp),
    "ReduceProd": _product,
    "ReduceL1": _with(torch.abs),
    "ReduceL2": _with(torch.square, torch.sqrt),
    "ReduceSumSquare": _with(torch.square),
    "ReduceLogSum": _log_sum,
    "ArgMax": _place(torch.argmax),
    "ArgMin": _place(torch.argmin),
    "CumSum": _cumulative,
    "TopK": _top,
}
