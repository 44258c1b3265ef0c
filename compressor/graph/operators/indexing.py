"""Operators that read positions by number: what they read by keeps its size, the other axes pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from compressor.graph.operators.call import Call, Dims, fixed, rule
from compressor.graph.operators.products import convolve

BY_NUMBER = "its positions are read by number"
_MASKS = (torch.bool, torch.uint8)


@rule("aten.embedding")
def embedding(call: Call) -> Sequence[Dims]:
    """Rows of a table: its other axis makes the channels."""
    rows, channels = call.dims("weight")
    call.freeze(rows, "its rows are a vocabulary")
    call.makes.append(call.origin_of(call["weight"]))
    return [[*[None] * call["indices"].dim(), channels]]


@rule("aten.index_select")
def index_select(call: Call) -> Sequence[Dims]:
    """Some positions of one axis."""
    dims, number = call.dims("self"), call.axis_number()
    call.freeze(dims[number], BY_NUMBER)
    return [[None if i == number else axis for i, axis in enumerate(dims)]]


@rule("aten.index", "aten._unsafe_index", "aten.index.Tensor")
def index(call: Call) -> Sequence[Dims]:
    """Advanced indexing: the indexed axes give way to those of the index."""
    dims, indices = call.dims("self"), list(call["indices"])
    indexed: list[int] = []
    kept: list[int] = []
    number = 0
    for each in indices:
        n = each.dim() if each is not None and each.dtype in _MASKS else 1
        (indexed if each is not None else kept).extend(range(number, number + n))
        number += n
    kept += range(number, len(dims))
    for i in indexed:
        call.freeze(dims[i], BY_NUMBER)
    result = call.results()[0]
    n_new = result.dim() - len(kept)
    together = indexed == list(range(indexed[0], indexed[0] + len(indexed))) if indexed else True
    begin = indexed[0] if indexed and together else 0
    before = [dims[i] for i in kept if i < begin]
    after = [dims[i] for i in kept if i >= begin]
    return [[*before, *[None] * n_new, *after]]


@rule("aten.gather", "aten.take_along_dim")
def gather(call: Call) -> Sequence[Dims]:
    """Positions of one axis; along the others, index and source go together."""
    dims, number = call.dims("self"), call.axis_number()
    call.freeze(dims[number], BY_NUMBER)
    found: Dims = []
    for i, (axis, other) in enumerate(zip(dims, call.dims("index"), strict=True)):
        same = i != number and call["self"].shape[i] == call["index"].shape[i]
        if i != number and not same:
            call.freeze(axis, BY_NUMBER)
        found.append((call.match(axis, other) if axis is not other else axis) if same and axis is not None else None)
    return [found]


@rule("torchvision.roi_align", "torchvision.roi_pool", "torchvision.ps_roi_align", "torchvision.ps_roi_pool")
def regions(call: Call) -> Sequence[Dims]:
    """(B, C, H, W) and K boxes -> (K, C, h, w)"""
    dims = call.dims("input")
    if call.operator._opname.startswith("ps_"):
        call.freeze(dims[1], "its channels are positions of a region")
        return fixed(call)
    return [[None, dims[1], None, None], *fixed(call, skip=1)]


@rule("torchvision.deform_conv2d")
def deformable(call: Call) -> Sequence[Dims]:
    """A convolution whose kernel is bent by offsets; input (B, C, H, W)."""
    for name in ("offset", "mask"):
        call.freeze(call.dims(name)[1], "its channels are offsets of pixels")
    made = convolve(call, call["input"], call["weight"], call["groups"])
    if call.arguments.get("offset_groups", 1) > 1:
        call.freeze(call.dims("input")[1], "its groups share offsets")
    made = call.match(made, call.dims("bias")[0])
    return [[call.dims("input")[0], made, None, None]]
