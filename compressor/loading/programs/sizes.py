"""Operators with sizes in them: reshape, expand, split, slice and new tensors, as layers of `shape_layers`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from compressor.loading.programs import shape_layers
from compressor.loading.programs.builder import Builder, check_size
from compressor.loading.programs.freeing import freed_parts, freed_reshape, freed_sizes
from compressor.loading.programs.slices import SliceUse
from compressor.loading.programs.values import Dim, Size, Value, in_run

_TO_THE_END = 1 << 31  # files write a stop beyond any length where they mean the end


def reshape(build: Builder, x: Value, sizes: Sequence[Size]) -> Value:
    """`sizes` may hold one -1. Axes that vary become -1; where several do, they are computed at run time."""
    if x.constant and not x.trainable and not any(isinstance(size, Dim) for size in sizes):
        return build.call(torch.reshape, x, list(sizes))
    if x.matrix is not None and list(x.tensor.shape) == list(sizes):
        return x
    sizes = freed_reshape(build, x, sizes)
    shapes = [
        tuple(x.run(index).reshape([int(in_run(size, index)) for size in sizes]).shape) for index in range(build.n_runs)
    ]
    known, numbers = _static(shapes, sizes)
    return build.size_layer(lambda: shape_layers.Reshape(known), x, *numbers)


def _static(shapes: Sequence[tuple[int, ...]], sizes: Sequence[Size]) -> tuple[tuple[int, ...], list[Size]]:
    """Sizes with -1 on the axes that vary, and what to put there at run time (nothing, if there is one such axis)."""
    known = tuple(
        first if len(set(axis)) == 1 else -1 for first, axis in zip(shapes[0], zip(*shapes, strict=True), strict=True)
    )
    open_axes = [axis for axis, size in enumerate(known) if size == -1]
    if len(open_axes) < 2:
        return known, []
    numbers = [sizes[axis] for axis in open_axes]
    if -1 not in numbers:  # leave what was calculated to torch: a product of sizes may hold one that will be cut
        computed = [index for index, number in enumerate(numbers) if isinstance(number, Dim) and not number.plain]
        if computed:
            numbers[computed[0]] = -1
    return known, numbers


def expand(build: Builder, x: Value, sizes: Sequence[Size]) -> Value:
    """`sizes` is aligned with the last axes; -1 keeps an axis, and so does 1 (as in ONNX)."""
    sizes = freed_sizes(build, sizes)
    for index in range(build.n_runs):
        check_size([int(in_run(size, index)) for size in sizes])
    if x.constant and not x.trainable and not any(isinstance(size, Dim) for size in sizes):
        target = _broadcast(tuple(x.tensor.shape), [int(in_run(size, 0)) for size in sizes])
        return build.call(torch.broadcast_to, x, target)
    shapes: list[tuple[int, ...]] = []
    sources: list[tuple[int, ...]] = []
    for index in range(build.n_runs):
        source = tuple(x.run(index).shape)
        shapes.append(tuple(_broadcast(source, [int(in_run(size, index)) for size in sizes])))
        sources.append((1,) * (len(shapes[-1]) - len(source)) + source)
    if shapes == [tuple(x.run(index).shape) for index in range(build.n_runs)]:
        return x
    n = len(shapes[0])
    n_new = n - x.ndim  # new axes in front cannot be kept
    aligned: list[Size] = [*[1] * (n - len(sizes)), *sizes]
    known: list[int] = []
    numbers: list[Size] = []  # one for each -1
    for axis in range(n):
        if axis >= n_new and all(shape[axis] == old[axis] for shape, old in zip(shapes, sources, strict=True)):
            known.append(-1)
            numbers.append(-1)
        elif len({shape[axis] for shape in shapes}) == 1:
            known.append(shapes[0][axis])
        else:
            known.append(-1)
            numbers.append(aligned[axis])
    needed = numbers if any(isinstance(number, Dim) for number in numbers) else []
    return build.size_layer(lambda: shape_layers.Expand(known), x, *needed)


def _broadcast(source: tuple[int, ...], sizes: Sequence[int]) -> list[int]:
    n = max(len(source), len(sizes))
    old = (1,) * (n - len(source)) + source
    new = [1] * (n - len(sizes)) + list(sizes)
    return [have if want in (-1, 1) else want for have, want in zip(old, new, strict=True)]


def concatenate(build: Builder, parts: Sequence[Value], axis: int) -> Value:
    """Joins tensors along one axis."""
    return build.call(torch.cat, freed_parts(build, parts, axis), axis)


def split(build: Builder, x: Value, sizes: Sequence[Size], dim: int) -> list[Value]:
    """Consecutive pieces of these lengths."""
    dim = dim % x.ndim
    if x.constant and not x.trainable:
        return build.call(torch.split, x, [int(in_run(size, 0)) for size in sizes], dim)
    known = [-1 if isinstance(size, Dim) else int(size) for size in sizes]
    numbers = [size for size in sizes if isinstance(size, Dim)]
    return build.size_layer(lambda: shape_layers.pieces(known, dim), x, *numbers)


def split_equally(build: Builder, x: Value, size: Size, dim: int) -> list[Value]:
    """Pieces of length `size`; the last one may be shorter."""
    dim = dim % x.ndim
    total = build.size(x, dim)
    if isinstance(total, Dim) or isinstance(size, Dim):
        return build.call(torch.split, x, size, dim)
    n_whole, rest = divmod(total, size)
    return split(build, x, [size] * n_whole + ([rest] if rest else []), dim)


def slice_(build: Builder, x: Value, dim: int, start: Size | None, stop: Size | None, step: Size = 1) -> Value:
    """Positions of one axis; numbers below 0 count from its end, and stop None is the end."""
    dim = dim % x.ndim
    start = 0 if start is None else start
    if isinstance(stop, int) and stop >= _TO_THE_END:
        stop = None
    if isinstance(start, Dim) or isinstance(stop, Dim) or isinstance(step, Dim) or (x.constant and not x.trainable):
        return build.call(torch.ops.aten.slice.Tensor, x, dim, start, stop, step)
    length = build.size(x, dim)
    if isinstance(length, int):
        start = max(length + start, 0) if start < 0 else start
        if stop is not None:
            stop = max(length + stop, 0) if stop < 0 else stop
            stop = None if stop >= length else stop
    if start == 0 and stop is None and step == 1:
        return x
    piece: Value = build.size_layer(lambda: shape_layers.Slice(start, stop, int(step), dim), x)
    if isinstance(length, int) and step == 1 and piece.node is not None:
        end = length if stop is None else stop
        build.slices.append(SliceUse(piece.node, build.node_of(x), dim, start, end, length))
    return piece


def pad(build: Builder, x: Value, pads: Sequence[Size], mode: str, value: float) -> Value:
    """`pads` in torch's order: last axis first, (before, after) each."""
    if any(isinstance(size, Dim) for size in pads) or (x.constant and not x.trainable):
        arguments: tuple[Any, ...] = (value,) if mode == "constant" else ()
        return build.call(torch.nn.functional.pad, x, list(pads), mode, *arguments)
    numbers = [int(in_run(size, 0)) for size in pads]
    if not any(numbers):
        return x
    for shape in build.shapes(x):
        check_size([length + sum(numbers[2 * back : 2 * back + 2]) for back, length in enumerate(reversed(shape))])
    return build.size_layer(lambda: shape_layers.Pad(numbers, mode, value), x)


def full(build: Builder, sizes: Sequence[Size], value: float, dtype: torch.dtype) -> Value:
    """A new tensor; a constant where its sizes are."""
    sizes = freed_sizes(build, sizes)
    for index in range(build.n_runs):
        check_size([int(in_run(size, index)) for size in sizes])
    numbers = [size for size in sizes if isinstance(size, Dim)]
    if not numbers:
        return build.constant(torch.full([int(in_run(size, 0)) for size in sizes], value, dtype=dtype))
    known = [-1 if isinstance(size, Dim) else size for size in sizes]
    return build.size_layer(lambda: shape_layers.Full(known, value, dtype), build.inputs[0], *numbers)


def arange(build: Builder, start: Any, stop: Any, step: Any, dtype: torch.dtype) -> Value:
    """A range of numbers; a constant where its ends are."""
    if any(isinstance(number, Dim) for number in (start, stop, step)):
        return build.size_layer(lambda: shape_layers.Arange(dtype), build.inputs[0], start, stop, step)
    check_size([abs(int((stop - start) / step)) if step else 0])
    return build.constant(torch.arange(start, stop, step, dtype=dtype))
