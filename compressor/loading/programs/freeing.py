"""Frees the batch of a file that was exported for one batch size, as most are.

The batch size then stands in reshapes and expansions as a plain number, which cannot be told from any other. So the
file is run with its own batch size and with one more, and where a size does not fit the larger batch it is taken for
the batch. That is a guess; `check.check_freed` compares the result, sample by sample, with the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import mul

import torch

from compressor.loading.programs.builder import Builder
from compressor.loading.programs.values import Dim, Size, Value, n_elements


def batch_of(build: Builder) -> Size:
    """The batch size at run time."""
    return build.size(build.inputs[0], 0)


def freed_reshape(build: Builder, x: Value, sizes: Sequence[Size]) -> list[Size]:
    """`sizes` with the batch as -1, where they fit only the file's own batch size."""
    plain = [int(size) for size in sizes if not isinstance(size, Dim)]
    if build.frozen_batch is None or len(plain) < len(sizes):
        return list(sizes)
    before, after = build.shapes(x)
    plain = list(x.tensor.reshape(plain).shape)  # a -1 must not take the batch in
    varying = [axis for axis, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    if not varying:
        return list(sizes)
    axis = _axis_of_batch(plain, n_elements(before[: varying[0]]), before[varying[0]], build.frozen_batch)
    return [*plain[:axis], -1, *plain[axis + 1 :]]


def _axis_of_batch(sizes: Sequence[int], in_front: int, span: int, batch: int) -> int:
    """Which axis of the result holds the batch.

    Elements stay in their order, so it is found by counting: the axis of the batch in the input has `in_front` groups
    of elements in front of it and `span` elements of its own.
    """
    groups = [1, *accumulate(sizes, mul)][:-1]  # in front of each axis of the result
    bounds = list(zip(groups, sizes, strict=True))
    inside = [axis for axis, (g, n) in enumerate(bounds) if g >= in_front and g * n <= in_front * span]
    for fits in (lambda n: n == batch, lambda n: n > 1 and n % batch == 0):
        for axis in inside:
            if fits(sizes[axis]) and (sizes[axis] == batch or batch > 1):
                return axis
    around = [axis for axis, (g, n) in enumerate(bounds) if g <= in_front and g * n >= in_front * span and n > 1]
    if not around:
        return 0
    # At a border between two axes: rows of a matrix hold the batch, and otherwise what comes next does (batch * heads).
    return around[0] if len(sizes) == 2 else around[-1]


def freed_sizes(build: Builder, sizes: Sequence[Size]) -> list[Size]:
    """Sizes of a new tensor: a batch size in front (unless it is 1, which broadcasts) becomes that of the input."""
    if build.frozen_batch in (None, 1) or len(sizes) < 2 or sizes[0] != build.frozen_batch:
        return list(sizes)
    return [batch_of(build), *sizes[1:]]


def freed_parts(build: Builder, parts: Sequence[Value], axis: int) -> list[Value]:
    """Parts of a concatenation; a constant, such as a class token, is repeated for every sample of the others."""
    if build.frozen_batch is None or axis % parts[0].ndim == 0:
        return list(parts)
    batch = next((size for part in parts if isinstance(size := build.size(part, 0), Dim)), None)
    return list(parts) if batch is None else [_repeated(build, part, batch) for part in parts]


def _repeated(build: Builder, part: Value, batch: Dim) -> Value:
    """`part` once for every sample, if it is the same for all samples of the file's own batch."""
    if build.size(part, 0) != build.frozen_batch or not bool((part.tensor == part.tensor[:1]).all()):
        return part
    if build.frozen_batch != 1:
        if not part.constant or part.trainable:
            return part
        part = build.constant(part.tensor[:1].clone(), part.name)
    return build.call(torch.Tensor.expand, part, batch, *[-1] * (part.ndim - 1))
