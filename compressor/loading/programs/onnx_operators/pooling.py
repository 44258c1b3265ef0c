"""Pooling."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional

from compressor.core.errors import UnsupportedModel
from compressor.loading.programs import sizes
from compressor.loading.programs.onnx_node import OnnxNode
from compressor.loading.programs.onnx_operators._helpers import Handler
from compressor.loading.programs.onnx_operators.convolutions import paddings, torch_pads
from compressor.loading.programs.values import Value

_MAX: tuple[Any, ...] = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)
_AVERAGE: tuple[Any, ...] = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)


def _window(node: OnnxNode) -> tuple[list[int], list[int], list[int], bool]:
    kernel = list(node.attribute("kernel_shape"))
    n = len(kernel)
    if n > 3:
        raise UnsupportedModel(f"pooling over {n} spatial axes has no function; there are those over 1, 2 and 3")
    stride = list(node.attribute("strides", [1] * n))
    dilation = list(node.attribute("dilations", [1] * n))
    return kernel, stride, dilation, bool(node.attribute("ceil_mode", 0))


def _fits(before: list[int], after: list[int], kernel: list[int]) -> bool:
    """Whether torch's own padding says the same: equal at both ends, and at most half a window."""
    return before == after and all(2 * size <= width for size, width in zip(before, kernel, strict=True))


def _max(node: OnnxNode) -> list[Value | None]:
    build, x = node.build, node.value(0)
    kernel, stride, dilation, ceil = _window(node)
    before, after = paddings(node, kernel, stride, dilation)
    if not _fits(before, after, kernel):
        x = sizes.pad(build, x, torch_pads(before, after), "constant", -math.inf)
        before = [0] * len(kernel)
    if node.n_outputs > 1:
        raise UnsupportedModel("its second output (the places of the maxima) is used")
    return [build.call(_MAX[len(kernel) - 1], x, kernel, stride, before, dilation, ceil), None]


def _average(node: OnnxNode) -> Value:
    build, x = node.build, node.value(0)
    kernel, stride, dilation, ceil = _window(node)
    if any(step != 1 for step in dilation):
        raise UnsupportedModel("it averages over a dilated window, which torch cannot")
    before, after = paddings(node, kernel, stride, dilation)
    counted = bool(node.attribute("count_include_pad", 0))
    if not _fits(before, after, kernel):
        if not counted:
            return _average_of_inner(node, x, kernel, stride, before, after, ceil)
        x = sizes.pad(build, x, torch_pads(before, after), "constant", 0.0)
        before = [0] * len(kernel)
    return build.call(_AVERAGE[len(kernel) - 1], x, kernel, stride, before, ceil, counted)


def _average_of_inner(
    node: OnnxNode, x: Value, kernel: list[int], stride: list[int], before: list[int], after: list[int], ceil: bool
) -> Value:
    """Padding that differs at both ends and does not count: the mean, divided by the share that is inside."""
    build, pool = node.build, _AVERAGE[len(kernel) - 1]
    pads, none = torch_pads(before, after), [0] * len(kernel)
    total = build.call(pool, sizes.pad(build, x, pads, "constant", 0.0), kernel, stride, none, ceil)
    ones = build.call(torch.ones_like, x)
    share = build.call(pool, sizes.pad(build, ones, pads, "constant", 0.0), kernel, stride, none, ceil)
    return build.call(torch.div, total, share)


def _lp(node: OnnxNode) -> Value:
    build, x = node.build, node.value(0)
    kernel, stride, dilation, ceil = _window(node)
    before, after = paddings(node, kernel, stride, dilation)
    p = float(node.attribute("p", 2))
    power = build.call(torch.pow, build.call(torch.abs, x), p)
    power = sizes.pad(build, power, torch_pads(before, after), "constant", 0.0)
    mean = build.call(_AVERAGE[len(kernel) - 1], power, kernel, stride, [0] * len(kernel), ceil)
    return build.call(torch.pow, build.call(torch.mul, mean, math.prod(kernel)), 1 / p)


def _global_average(node: OnnxNode) -> Value:
    x = node.value(0)
    return node.build.call(torch.mean, x, list(range(2, x.ndim)), keepdim=True)


def _global_max(node: OnnxNode) -> Value:
    x = node.value(0)
    return node.build.call(torch.amax, x, list(range(2, x.ndim)), keepdim=True)


HANDLERS: dict[str, Handler] = {
    "MaxPool": _max,
    "AveragePool": _average,
    "LpPool": _lp,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_max,
}
