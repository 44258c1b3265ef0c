"""Convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from compressor.core.errors import UnsupportedModel
from compressor.loading.programs import layers, sizes
from compressor.loading.programs.onnx_node import OnnxNode
from compressor.loading.programs.onnx_operators._helpers import Handler
from compressor.loading.programs.values import Dim, Value


def paddings(
    node: OnnxNode, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Positions to add before and after each spatial axis.

    Raises:
        UnsupportedModel: they depend on the size of the input.
    """
    n, mode = len(kernel), node.attribute("auto_pad", "NOTSET")
    if mode in ("NOTSET", ""):
        pads = [int(size) for size in node.attribute("pads", [0] * (2 * n))]
        return pads[:n], pads[n:]
    if mode == "VALID":
        return [0] * n, [0] * n
    before, after = [], []
    for axis in range(n):
        length = node.build.size(node.value(0), axis + 2)
        reach = (kernel[axis] - 1) * dilation[axis] + 1
        if isinstance(length, Dim):
            if stride[axis] != 1:
                raise UnsupportedModel(f"its padding '{mode}' depends on the size of the image; fix it with --input")
            total = reach - 1
        else:
            total = max((-(-length // stride[axis]) - 1) * stride[axis] + reach - length, 0)
        small, large = total // 2, total - total // 2
        before.append(small if mode == "SAME_UPPER" else large)
        after.append(large if mode == "SAME_UPPER" else small)
    return before, after


def torch_pads(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """(before, after) of each axis, last axis first, as torch wants them."""
    return [size for pair in reversed(list(zip(before, after, strict=True))) for size in pair]


def _conv(node: OnnxNode) -> Value:
    x, weight, bias = node.value(0), node.value(1), node.optional(2)
    kernel = list(weight.tensor.shape[2:])
    n = len(kernel)
    stride = node.attribute("strides", [1] * n)
    dilation = node.attribute("dilations", [1] * n)
    before, after = paddings(node, kernel, stride, dilation)
    if before != after:
        x = sizes.pad(node.build, x, torch_pads(before, after), "constant", 0.0)
        before = [0] * n
    if bias is None:
        bias = node.take_bias(int(weight.tensor.shape[0]), 1)
    return layers.convolution(node.build, x, weight, bias, stride, before, dilation, node.attribute("group", 1))


def _conv_transpose(node: OnnxNode) -> Value:
    x, weight, bias = node.value(0), node.value(1), node.optional(2)
    kernel = list(weight.tensor.shape[2:])
    n = len(kernel)
    stride = node.attribute("strides", [1] * n)
    dilation = node.attribute("dilations", [1] * n)
    extra = list(node.attribute("output_padding", [0] * n))
    reach = [(kernel[axis] - 1) * dilation[axis] + 1 for axis in range(n)]
    target, mode = node.attribute("output_shape"), node.attribute("auto_pad", "NOTSET")
    if target is not None or mode not in ("NOTSET", "", "VALID"):
        before, after = _pads_for(node, target, stride, reach, extra, mode)
    else:
        pads = [int(size) for size in node.attribute("pads", [0] * (2 * n))]
        before, after = pads[:n], pads[n:]
    # torch takes away the same number at both ends. What the end loses less is output padding; what it loses more, cut.
    more = [max(last - first, 0) for first, last in zip(before, after, strict=True)]
    extra = [size + first - last + cut for size, first, last, cut in zip(extra, before, after, more, strict=True)]
    if any(size >= max(stride[axis], dilation[axis]) for axis, size in enumerate(extra)):
        raise UnsupportedModel("it pads its output differently at both ends, by more than its stride")
    if bias is None:
        bias = node.take_bias(int(weight.tensor.shape[1]) * node.attribute("group", 1), 1)
    options = {"groups": node.attribute("group", 1), "transposed": True, "output_padding": extra}
    result = layers.convolution(node.build, x, weight, bias, stride, before, dilation, **options)
    for axis, cut in enumerate(more):
        result = sizes.slice_(node.build, result, axis + 2, 0, -cut if cut else None)
    return result


def _pads_for(
    node: OnnxNode,
    target: Sequence[int] | None,
    stride: Sequence[int],
    reach: Sequence[int],
    extra: Sequence[int],
    mode: str,
) -> tuple[list[int], list[int]]:
    before, after = [], []
    for axis, step in enumerate(stride):
        length = node.build.size(node.value(0), axis + 2)
        if isinstance(length, Dim):
            raise UnsupportedModel("its padding depends on the size of the image; fix it with --input")
        wanted = target[axis - len(stride)] if target is not None else length * step
        total = max(step * (length - 1) + extra[axis] + reach[axis] - wanted, 0)
        half = total // 2
        before.append(total - half if mode != "SAME_UPPER" else half)
        after.append(total - before[-1])
    return before, after


HANDLERS: dict[str, Handler] = {"Conv": _conv, "ConvTranspose": _conv_transpose}
