"""Operators that join axes and take parts of them: sums, pieces, single positions, padding."""

from __future__ import annotations

from collections.abc import Sequence

from compressor.graph.axis import Axis, concatenate, divide, part
from compressor.graph.operators.call import Call, Dims, rule


@rule("aten.cat")
def cat(call: Call) -> Sequence[Dims]:
    """One after the other along one axis: a sum."""
    tensors = [t for t in call["tensors"] if not (t.dim() == 1 and t.numel() == 0)]
    if not tensors:
        return [[None] * call.results()[0].dim()]
    number = call.arguments.get("dim", 0) % tensors[0].dim()
    joined = [(call.dims_of(t)[number], t.shape[number]) for t in tensors]
    result = _matched(call, [call.dims_of(t) for t in tensors], [t.shape for t in tensors], skip=number)
    if all(axis is None for axis, _ in joined):
        result[number] = None
    else:
        fixed = call.why("it is of fixed size")
        result[number] = concatenate([Axis(size, fixed) if axis is None else axis for axis, size in joined])
    return [result]


@rule("aten.stack")
def stack(call: Call) -> Sequence[Dims]:
    """Side by side along a new axis."""
    tensors = call["tensors"]
    result = _matched(call, [call.dims_of(t) for t in tensors], [t.shape for t in tensors])
    result.insert(call.arguments.get("dim", 0) % (len(result) + 1), None)
    return [result]


def _matched(call: Call, all_dims: list[Dims], shapes: Sequence[Sequence[int]], skip: int = -1) -> Dims:
    result = list(all_dims[0])
    for dims in all_dims[1:]:
        for i, axis in enumerate(dims):
            if i != skip and shapes[0][i] > 1 and result[i] is not axis:
                result[i] = call.match(result[i], axis)
    return result


@rule("aten.split", "aten.split.Tensor", "aten.unsafe_split")
def split_evenly(call: Call) -> Sequence[Dims]:
    """Pieces of one size: they lose the same channels, since one number says where each begins."""
    number = call.axis_number()
    dims, pieces = call.dims("self"), call.results()
    axis, sizes = dims[number], [piece.shape[number] for piece in pieces]
    if axis is None or len(pieces) == 1:
        return [list(dims) for _ in pieces]
    if len(set(sizes)) > 1:
        call.freeze(axis, "it is split into unequal pieces by one number")
        return [_with(dims, number, None) for _ in pieces]
    outer, inner = divide(axis, [len(sizes), sizes[0]], call.why("it splits channels across an earlier division"))
    outer.freeze(call.why("its pieces are read by number"))
    return [_with(dims, number, inner) for _ in pieces]


@rule("aten.split_with_sizes", "aten.unsafe_split_with_sizes")
def split_with_sizes(call: Call) -> Sequence[Dims]:
    """Pieces of named sizes: the axis is their sum."""
    number, dims, begin = call.axis_number(), call.dims("self"), 0
    found = []
    for size in call["split_sizes"]:
        found.append(_with(dims, number, _part(call, dims[number], begin, begin + size)))
        begin += size
    return found


@rule("aten.slice")
def cut_out(call: Call) -> Sequence[Dims]:
    """Positions from a start to a stop: a part of the axis."""
    number = call.arguments.get("dim", 0) % call["self"].dim()
    dims, length = call.dims("self"), call["self"].shape[number]
    start, stop, step = slice(call.arguments.get("start"), call.arguments.get("end")).indices(length)
    step = call.arguments.get("step", 1)
    if dims[number] is None or (start, stop, step) == (0, length, 1):
        return [list(dims)]
    if step != 1 or stop <= start:
        call.freeze(dims[number], "every so many channels are read by number")
        return [_with(dims, number, None)]
    return [_with(dims, number, _part(call, dims[number], start, stop))]


def _part(call: Call, axis: Axis | None, start: int, stop: int) -> Axis | None:
    if axis is None or stop - start < 1:
        return None
    found = part(axis, start, stop, call.why("it splits channels across an earlier division"))
    return None if found.size == 1 else found


@rule("aten.slice_scatter")
def into_slice(call: Call) -> Sequence[Dims]:
    """A copy with other numbers from a start to a stop."""
    number = call.axis_number()
    dims, length = call.dims("self"), call["self"].shape[number]
    start, stop, _ = slice(call.arguments.get("start"), call.arguments.get("end")).indices(length)
    if call.arguments.get("step", 1) == 1:
        target = dims[number] if (start, stop) == (0, length) else _part(call, dims[number], start, stop)
    else:
        call.freeze(dims[number], "every so many channels are written by number")
        target = None
    for axis, other, size in zip(_with(dims, number, target), call.dims("src"), call["src"].shape, strict=True):
        if size > 1 and axis is not other:
            call.match(axis, other)
    return [list(dims)]


@rule("aten.select_scatter")
def into_position(call: Call) -> Sequence[Dims]:
    """A copy with other numbers at one position."""
    number, dims = call.axis_number(), call.dims("self")
    call.freeze(dims[number], "its positions are written by number")
    for axis, other in zip(_without(dims, number), call.dims("src"), strict=True):
        if axis is not other:
            call.match(axis, other)
    return [list(dims)]


@rule("aten.select")
def select(call: Call) -> Sequence[Dims]:
    """One position; the axis goes."""
    number, dims = call.axis_number(), call.dims("self")
    call.freeze(dims[number], "its positions are read by number")
    return [_without(dims, number)]


@rule("aten.unbind")
def unbind(call: Call) -> Sequence[Dims]:
    """Every position by itself; the axis goes."""
    number, dims = call.arguments.get("dim", 0) % call["self"].dim(), call.dims("self")
    call.freeze(dims[number], "its positions are read by number")
    return [_without(dims, number) for _ in call.results()]


@rule("aten.glu")
def glu(call: Call) -> Sequence[Dims]:
    """The first half times the sigmoid of the second: both lose the same channels."""
    number, dims = call.arguments.get("dim", -1) % call["self"].dim(), call.dims("self")
    axis = dims[number]
    if axis is None:
        return [list(dims)]
    halves, inner = divide(axis, [2, axis.size // 2], call.why("it splits channels across an earlier division"))
    halves.freeze(call.why("its halves have different parts to play"))
    return [_with(dims, number, inner)]


@rule("aten.constant_pad_nd")
def pad(call: Call) -> Sequence[Dims]:
    """Zeros before and after: those positions are nobody's channels and stay."""
    dims, amounts = list(call.dims("self")), call["pad"]
    for i in range(len(amounts) // 2):
        before, after, number = amounts[2 * i], amounts[2 * i + 1], len(dims) - 1 - i
        axis = dims[number]
        if axis is None or not (before or after):
            continue
        if before < 0 or after < 0:
            call.freeze(axis, "it is cropped by number")
            dims[number] = None
            continue
        fixed = call.why("it is padding")
        dims[number] = concatenate([Axis(before, fixed), axis, Axis(after, fixed)])
    return [dims]


@rule("aten.roll", "aten.flip")
def roll(call: Call) -> Sequence[Dims]:
    """Positions move around; those of all axes at once if none is named."""
    dims = call.dims("self")
    for number in call["dims"] or range(len(dims)):
        call.freeze(dims[number], "its positions are shifted by number")
    return [list(dims)]


def _with(dims: Dims, number: int, axis: Axis | None) -> Dims:
    return [axis if i == number else other for i, other in enumerate(dims)]


def _without(dims: Dims, number: int) -> Dims:
    return [axis for i, axis in enumerate(dims) if i != number]
