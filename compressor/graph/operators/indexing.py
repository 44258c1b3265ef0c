"""Operators that read positions by number: what they read by keeps its size, the other axes pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from compressor.graph.operators.call import Call, Dims, fixed, rule
from compressor.graph.operators.products import convolve

BY_NUMBER = "its positions are read by number"
INDEX = "it holds the numbers of positions"
_MASKS = (torch.bool, torch.uint8)


@rule("aten.embedding")
def embedding(call: Call) -> Sequence[Dims]:
    """Rows of a table: its other axis makes the channels."""
    rows, channels = call.dims("weight")
    call.freeze(rows, "its rows are a vocabulary")
    call.freeze_all(call["indices"], INDEX)
    call.makes.append(call.origin_of(call["weight"]))
    return [[*[None] * call["indices"].dim(), channels]]


@rule("aten._embedding_bag", "aten._embedding_bag_forward_only")
def embedding_bag(call: Call) -> Sequence[Dims]:
    """Sums or means of rows of a table."""
    rows, channels = call.dims("weight")
    call.freeze(rows, "its rows are a vocabulary")
    for name in ("indices", "offsets"):
        call.freeze_all(call[name], INDEX)
    call.makes.append(call.origin_of(call["weight"]))
    return [[None, channels], *fixed(call, skip=1)]


@rule("aten.index_select")
def index_select(call: Call) -> Sequence[Dims]:
    """Some positions of one axis."""
    dims, number = call.dims("self"), call.axis_number()
    call.freeze(dims[number], BY_NUMBER)
    call.freeze_all(call["index"], INDEX)
    return [[None if i == number else axis for i, axis in enumerate(dims)]]


@rule("aten.index", "aten._unsafe_index")
def index(call: Call) -> Sequence[Dims]:
    """Advanced indexing: the indexed axes give way to those of the index."""
    return [_indexed(call)]


@rule("aten.index_put", "aten._unsafe_index_put", "aten._index_put_impl")
def index_put(call: Call) -> Sequence[Dims]:
    """Other numbers at indexed places: what is not indexed is one with the axes of those numbers."""
    target, values = _indexed(call), call["values"]
    for place, axis in enumerate(reversed(call.dims("values")), 1):
        if values.shape[-place] > 1 and axis is not target[-place]:
            call.match(target[-place], axis)
    return [list(call.dims("self"))]


def _indexed(call: Call) -> Dims:
    """The axes of what advanced indexing picks."""
    dims = call.dims("self")
    indexed: list[int] = []
    kept: list[int] = []
    number = n_new = 0
    for each in call["indices"]:
        is_mask = each is not None and each.dtype in _MASKS
        n = each.dim() if is_mask else 1  # a mask takes as many axes as it has, and gives one
        (indexed if each is not None else kept).extend(range(number, number + n))
        if each is not None:
            n_new = max(n_new, 1 if is_mask else each.dim())
            call.freeze_all(each, INDEX)
        number += n
    kept += range(number, len(dims))
    for i in indexed:
        call.freeze(dims[i], BY_NUMBER)
    together = indexed == list(range(indexed[0], indexed[0] + len(indexed))) if indexed else True
    begin = indexed[0] if indexed and together else 0
    before = [dims[i] for i in kept if i < begin]
    after = [dims[i] for i in kept if i >= begin]
    return [*before, *[None] * n_new, *after]


@rule("aten.gather")
def gather(call: Call) -> Sequence[Dims]:
    """Positions of one axis; along the others, index and source go together."""
    dims, number = call.dims("self"), call.axis_number()
    call.freeze(dims[number], BY_NUMBER)
    found: Dims = []
    for i, (axis, other) in enumerate(zip(dims, call.dims("index"), strict=True)):
        if i != number and call["self"].shape[i] == call["index"].shape[i]:
            found.append(call.match(axis, other) if axis is not other else axis)
            continue
        call.freeze(axis, BY_NUMBER)
        call.freeze(other, INDEX)
        found.append(None)
    return [found]


@rule("aten.scatter", "aten.scatter_add", "aten.scatter_reduce")
def scatter(call: Call) -> Sequence[Dims]:
    """Numbers into positions of one axis; along the others, target, index and source go together."""
    dims, number = call.dims("self"), call.axis_number()
    call.freeze(dims[number], BY_NUMBER)
    for name in ("index", "src"):
        if not isinstance(call.arguments.get(name), Tensor):
            continue
        for i, other in enumerate(call.dims(name)):
            if i == number or call[name].shape[i] < call["self"].shape[i]:
                call.freeze(dims[i], BY_NUMBER)
                call.freeze(other, BY_NUMBER)
            elif other is not dims[i]:
                call.match(dims[i], other)
    return [list(dims)]


@rule("aten.index_add", "aten.index_copy", "aten.index_fill")
def into_positions(call: Call) -> Sequence[Dims]:
    """Slices into positions of one axis; the others are those of the source."""
    dims, number = call.dims("self"), call.axis_number()
    call.freeze(dims[number], BY_NUMBER)
    call.freeze_all(call["index"], INDEX)
    source = call.arguments.get("source")
    for i, other in enumerate(call.dims("source") if source is not None and source.dim() else []):
        if i == number:
            call.freeze(other, BY_NUMBER)
        elif other is not dims[i]:
            call.match(dims[i], other)
    return [list(dims)]


@rule("torchvision.roi_align", "torchvision.roi_pool", "torchvision.ps_roi_align", "torchvision.ps_roi_pool")
def regions(call: Call) -> Sequence[Dims]:
    """(B, C, H, W) and K boxes -> (K, C, h, w)"""
    dims = call.dims("input")
    for axis in [*dims[2:], *call.dims("rois")]:
        call.freeze(axis, "it is used as rows or columns of an image")
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
