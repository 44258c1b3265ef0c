"""Operators that exchange channels with pixels or with one another, and that read windows."""

from __future__ import annotations

from collections.abc import Sequence

from compressor.graph.axis import Axis, divide, merge
from compressor.graph.operators.call import Call, Dims, rule


@rule("aten.pixel_shuffle")
def pixel_shuffle(call: Call) -> Sequence[Dims]:
    """(..., C * r * r, H, W) -> (..., C, H * r, W * r)"""
    *lead, axis, height, width = call.dims("self")
    r = call["upscale_factor"]
    if axis is not None:
        axis, rows, columns = divide(axis, [axis.size // (r * r), r, r], call.why("it crosses an earlier division"))
        rows.freeze(call.why("it becomes pixels"))
        columns.freeze(call.why("it becomes pixels"))
    return [[*lead, axis, *_pixels(call, height, width)]]


@rule("aten.pixel_unshuffle")
def pixel_unshuffle(call: Call) -> Sequence[Dims]:
    """(..., C, H * r, W * r) -> (..., C * r * r, H, W)"""
    *lead, axis, height, width = call.dims("self")
    r = call["downscale_factor"]
    if axis is not None:
        axis = merge([axis, Axis(r * r, call.why("it is made of pixels"))])
    return [[*lead, axis, *_pixels(call, height, width)]]


@rule("aten.channel_shuffle", "aten.native_channel_shuffle")
def channel_shuffle(call: Call) -> Sequence[Dims]:
    """(B, groups * channels, ...) -> (B, channels * groups, ...)"""
    dims = list(call.dims("self"))
    axis, groups = dims[1], call["groups"]
    if axis is not None:
        outer, inner = divide(axis, [groups, axis.size // groups], call.why("it crosses an earlier division"))
        outer.freeze(call.why("its groups are counted"))
        dims[1] = merge([inner, outer])
    return [dims]


@rule("aten.im2col")
def im2col(call: Call) -> Sequence[Dims]:
    """(B, C, H, W) -> (B, C * kh * kw, L)"""
    *lead, axis, height, width = call.dims("self")
    _pixels(call, height, width)
    kernel = call["kernel_size"][0] * call["kernel_size"][1]
    return [[*lead, None if axis is None else merge([axis, Axis(kernel, call.why("it is made of pixels"))]), None]]


@rule("aten.col2im")
def col2im(call: Call) -> Sequence[Dims]:
    """(B, C * kh * kw, L) -> (B, C, H, W)"""
    *lead, axis, places = call.dims("self")
    _pixels(call, places)
    kernel = call["kernel_size"][0] * call["kernel_size"][1]
    if axis is not None:
        axis, pixels = divide(axis, [axis.size // kernel, kernel], call.why("it crosses an earlier division"))
        pixels.freeze(call.why("it becomes pixels"))
    return [[*lead, axis, None, None]]


@rule("aten.unfold")
def unfold(call: Call) -> Sequence[Dims]:
    """Sliding windows along one axis, on a new last axis."""
    number, dims = call.axis_number("dimension"), list(call.dims("self"))
    call.freeze(dims[number], "it is read in sliding windows")
    return [[*dims[:number], None, *dims[number + 1 :], None]]


@rule("aten.diagonal")
def diagonal(call: Call) -> Sequence[Dims]:
    """Positions that are the same on two axes."""
    dims = call.dims("self")
    numbers = {call.arguments.get("dim1", 0) % len(dims), call.arguments.get("dim2", 1) % len(dims)}
    for number in numbers:
        call.freeze(dims[number], "its diagonal is read")
    return [[*(axis for i, axis in enumerate(dims) if i not in numbers), None]]


def _pixels(call: Call, *axes: Axis | None) -> Dims:
    for axis in axes:
        call.freeze(axis, "it is used as rows or columns of an image")
    return [None] * len(axes)
