"""Operators that rearrange elements: reshape, transpose, concatenate, split, slice, pad, repeat."""

from __future__ import annotations

from typing import Any

import torch

from compressor.core.errors import UnsupportedModel
from compressor.loading.programs import sizes
from compressor.loading.programs.builder import check_size
from compressor.loading.programs.onnx_node import OnnxNode
from compressor.loading.programs.onnx_operators._helpers import Handler, normal_axes
from compressor.loading.programs.onnx_sizes import packed
from compressor.loading.programs.values import Dim, Size, Value, in_run

_PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def _reshape(node: OnnxNode) -> Value:
    x, target = node.value(0), node.sizes(1) if node.has(1) else node.attribute("shape")
    if not node.attribute("allowzero", 0):
        target = [node.build.size(x, axis) if size == 0 else size for axis, size in enumerate(target)]
    return sizes.reshape(node.build, x, target)


def _flatten(node: OnnxNode) -> Value:
    build, x, axis = node.build, node.value(0), node.attribute("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    if axis == 1 and x.ndim > 1:
        return build.call(torch.flatten, x, 1)
    shape = build.shape(x)
    before: Size = 1
    for length in shape[:axis]:
        before = length * before
    return sizes.reshape(build, x, [before, -1])


def _squeeze(node: OnnxNode) -> Value:
    x, axes = node.value(0), node.listed("axes", 1)
    if axes is None:
        axes = [axis for axis, length in enumerate(node.build.shape(x)) if length == 1]
    return node.build.call(torch.squeeze, x, normal_axes(axes, x.ndim))


def _unsqueeze(node: OnnxNode) -> Value:
    x, axes = node.value(0), node.listed("axes", 1) or []
    for axis in sorted(normal_axes(axes, x.ndim + len(axes))):
        x = node.build.call(torch.unsqueeze, x, axis)
    return x


def _transpose(node: OnnxNode) -> Value:
    x = node.value(0)
    return node.build.call(torch.permute, x, list(node.attribute("perm", range(x.ndim - 1, -1, -1))))


def _concat(node: OnnxNode) -> Value:
    values = [node.value(index) for index in range(len(node.inputs))]
    axis = node.attribute("axis")
    full = [value for value in values if value.tensor.numel() or value.ndim > 1]
    return sizes.concatenate(node.build, full or values, axis) if len(full) != 1 else full[0]


def _split(node: OnnxNode) -> list[Value]:
    x, axis = node.value(0), node.attribute("axis", 0)
    pieces = node.attribute("split") or (node.sizes(1) if node.has(1) else None)
    if pieces is None:
        n = node.attribute("num_outputs") or node.n_outputs
        total = node.build.size(x, axis % x.ndim)
        if isinstance(total, Dim):
            return node.build.call(torch.chunk, x, n, axis)
        whole = -(-total // n)
        pieces = [whole] * (n - 1) + [total - whole * (n - 1)]
    return sizes.split(node.build, x, pieces, axis)


def _slice(node: OnnxNode) -> Value:
    x = node.value(0)
    if "starts" in node.attributes:  # before opset 10
        starts, stops = node.attribute("starts"), node.attribute("ends")
        axes, steps = node.attribute("axes"), None
    else:
        starts, stops = node.sizes(1), node.sizes(2)
        axes = node.constants(3) if node.has(3) else None
        steps = node.constants(4) if node.has(4) else None
    axes = normal_axes(list(range(len(starts))) if axes is None else axes, x.ndim)
    for axis, start, stop, step in zip(axes, starts, stops, steps or [1] * len(axes), strict=True):
        x = _slice_axis(node, x, axis, start, stop, step) if step > 0 else _slice_back(node, x, axis, start, stop, step)
    return x


def _slice_axis(node: OnnxNode, x: Value, axis: int, start: Size, stop: Size, step: int) -> Value:
    return sizes.slice_(node.build, x, axis, start, stop, step)


def _slice_back(node: OnnxNode, x: Value, axis: int, start: Size, stop: Size, step: int) -> Value:
    """torch has no negative steps: the axis is turned round first."""
    length = node.build.size(x, axis)
    if isinstance(length, Dim) or isinstance(start, Dim) or isinstance(stop, Dim):
        from_the_end = isinstance(start, int) and (start == -1 or start >= 1 << 31)
        if from_the_end and isinstance(stop, int) and stop <= -(1 << 31) and step == -1:
            return node.build.call(torch.flip, x, [axis])
        raise UnsupportedModel("it goes backwards over an axis whose length varies")
    first = min(start + length if start < 0 else start, length - 1)
    last = max(stop + length if stop < 0 else stop, -1)
    turned = node.build.call(torch.flip, x, [axis])
    return sizes.slice_(node.build, turned, axis, length - 1 - first, length - 1 - last, -step)


def _expand(node: OnnxNode) -> Value:
    return sizes.expand(node.build, node.value(0), node.sizes(1))


def _tile(node: OnnxNode) -> Value:
    x = node.value(0)
    repeats = node.sizes(1)
    grows = [isinstance(count, Dim) or count != 1 for count in repeats]
    if all(length == 1 for length, grow in zip(x.tensor.shape, grows, strict=True) if grow):
        return sizes.expand(node.build, x, repeats)
    check_size([length * in_run(count, 0) for length, count in zip(x.tensor.shape, repeats, strict=True)])
    return node.build.call(torch.tile, x, tuple(repeats))


def _pad(node: OnnxNode) -> Value:
    x = node.value(0)
    mode = _PAD_MODES[node.attribute("mode", "constant")]
    given: list[Any] = node.sizes(1) if node.has(1) else node.attribute("pads", node.attribute("paddings"))
    value = node.scalar(2) if node.has(2) else node.attribute("value", 0.0)
    if isinstance(value, Value):
        raise UnsupportedModel("it pads with a value that is calculated from the data")
    axes = normal_axes(node.constants(3), x.ndim) if node.has(3) else list(range(x.ndim))
    pairs: list[tuple[Size, Size]] = [(0, 0)] * x.ndim
    for position, axis in enumerate(axes):
        pairs[axis] = (given[position], given[position + len(axes)])
    while len(pairs) > 1 and pairs[0] == (0, 0):
        pairs.pop(0)
    if mode == "constant":
        return sizes.pad(node.build, x, [size for pair in reversed(pairs) for size in pair], mode, value)
    return _pad_spatial(node, x, pairs, mode)


def _pad_spatial(node: OnnxNode, x: Value, pairs: list[tuple[Size, Size]], mode: str) -> Value:
    """torch pads by repetition only the last axes of a batch of images."""
    if len(pairs) > x.ndim - 2 and not (x.ndim == 2 and len(pairs) == 1):
        raise UnsupportedModel(f"it pads the batch or the channels in the mode '{mode}'")
    if len(pairs) == x.ndim - 1:
        raise UnsupportedModel(f"it pads the channels in the mode '{mode}'")
    return sizes.pad(node.build, x, [size for pair in reversed(pairs) for size in pair], mode, 0.0)


def _depth_to_space(node: OnnxNode) -> Value:
    build, x, block = node.build, node.value(0), node.attribute("blocksize")
    if node.attribute("mode", "DCR") == "CRD":
        return build.call(torch.nn.functional.pixel_shuffle, x, block)
    n, c, h, w = build.shape(x)
    x = sizes.reshape(build, x, [n, block, block, -1, h, w])  # (N, b, b, C, H, W)
    x = build.call(torch.permute, x, [0, 3, 4, 1, 5, 2])  # (N, C, H, b, W, b)
    return sizes.reshape(build, x, [n, c // block**2, h * block, w * block])


def _space_to_depth(node: OnnxNode) -> Value:
    build, x, block = node.build, node.value(0), node.attribute("blocksize")
    n, c, h, w = build.shape(x)
    x = sizes.reshape(build, x, [n, c, h // block, block, w // block, block])
    x = build.call(torch.permute, x, [0, 3, 5, 1, 2, 4])  # (N, b, b, C, H/b, W/b)
    return sizes.reshape(build, x, [n, c * block**2, h // block, w // block])


def _shape(node: OnnxNode) -> Any:
    shape = node.build.shape(node.value(0))
    return packed(node.build, shape[slice(node.attribute("start"), node.attribute("end"))], torch.int64)


def _size(node: OnnxNode) -> Any:
    total: Any = 1
    for length in node.build.shape(node.value(0)):
        total = length * total
    return packed(node.build, total, torch.int64)


HANDLERS: dict[str, Handler] = {
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Expand": _expand,
    "Tile": _tile,
    "Pad": _pad,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Shape": _shape,
    "Size": _size,
}
