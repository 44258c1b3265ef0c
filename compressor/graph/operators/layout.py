"""Operators that move elements without computing: the axes go with them."""

from __future__ import annotations

from collections.abc import Sequence

from compressor.graph.axis import Axis, concatenate, divide, merge, part
from compressor.graph.operators.call import Call, Dims, broadcast, rule, unknown


@rule(
    "aten.alias", "aten.detach", "aten.clone", "aten.contiguous", "aten._to_copy", "aten.lift_fresh_copy",
    "aten.lift_fresh", "aten.zeros_like", "aten.ones_like", "aten.full_like", "aten.empty_like", "aten.fill",
    "aten.zero", "aten.native_dropout", "aten.dropout", "aten.bernoulli", "aten.resolve_conj", "aten.resolve_neg",
    "aten.tril", "aten.triu", "aten.rand_like", "aten.randn_like",
)  # fmt: skip
def same(call: Call) -> Sequence[Dims]:
    """One tensor in, tensors of its shape out."""
    dims = call.dims_of(call.tensors()[0])
    return [list(dims) for _ in call.results()]


@rule("aten.as_strided_")
def restride(call: Call) -> Sequence[Dims]:
    """Pooling to one pixel only renames the strides of axes of size 1; anything else reads memory at will."""
    if list(call["size"]) == list(call.shapes[0]):
        return [list(call.dims("self"))]
    return unknown(call)


@rule("aten.copy")
def copy(call: Call) -> Sequence[Dims]:
    """Into a tensor or a part of one: the two have the same channels."""
    target = call["self"]
    broadcast(call, [target, call["src"]], target.dim())
    return [call.dims("self")]


@rule("aten.view", "aten._unsafe_view", "aten.reshape", "aten._reshape_alias", "aten.unflatten", "aten.flatten")
def reshape(call: Call) -> Sequence[Dims]:
    """Row-major order says exactly which axes are joined and divided."""
    source, result = call["self"], call.results()[0]
    return [regroup(call, call.dims("self"), source.shape, result.shape)]


def regroup(call: Call, dims: Dims, before: Sequence[int], after: Sequence[int]) -> Dims:
    """The axes of a tensor of shape `before` seen as `after`."""
    result: Dims = []
    i = j = 0
    while j < len(after):
        if after[j] == 1:
            result.append(None)
            j += 1
            continue
        block_in: list[int] = []
        block_out: list[int] = []
        n_in = n_out = 1
        while not block_out or n_in != n_out:
            if n_in <= n_out and i < len(before):
                n_in *= before[i]
                block_in.append(i)
                i += 1
            elif j < len(after):
                n_out *= after[j]
                block_out.append(j)
                j += 1
            else:
                break
        result += _block(call, [(dims[k], before[k]) for k in block_in], [after[k] for k in block_out])
    return result


def _block(call: Call, incoming: list[tuple[Axis | None, int]], sizes: list[int]) -> Dims:
    incoming = [(axis, size) for axis, size in incoming if size > 1]
    if all(axis is None for axis, _ in incoming):
        return [None] * len(sizes)
    if len(incoming) == 1 and [size for size in sizes if size > 1] == [incoming[0][1]]:
        return [incoming[0][0] if size > 1 else None for size in sizes]
    fixed = call.why("it is joined with an axis of fixed size")
    whole = merge([axis if axis is not None else Axis(size, fixed) for axis, size in incoming])
    found = divide(whole, sizes, call.why("it divides channels across an earlier division"))
    return [None if axis.size == 1 or all(a.frozen == fixed for a in axis.atoms()) else axis for axis in found]


@rule("aten.permute")
def permute(call: Call) -> Sequence[Dims]:
    """Axes in another order."""
    dims = call.dims("self")
    return [[dims[number] for number in call["dims"]]]


@rule("aten.transpose", "aten.transpose_")
def transpose(call: Call) -> Sequence[Dims]:
    """Two axes change places."""
    dims = list(call.dims("self"))
    if dims:
        a, b = call.axis_number("dim0"), call.axis_number("dim1")
        dims[a], dims[b] = dims[b], dims[a]
    return [dims]


@rule("aten.t")
def t(call: Call) -> Sequence[Dims]:
    """A matrix on its side."""
    return [list(reversed(call.dims("self")))]


@rule("aten.unsqueeze")
def unsqueeze(call: Call) -> Sequence[Dims]:
    """A new axis of size 1."""
    dims = list(call.dims("self"))
    dims.insert(call["dim"] % (len(dims) + 1), None)
    return [dims]


@rule("aten.squeeze")
def squeeze(call: Call) -> Sequence[Dims]:
    """Axes of size 1 go."""
    source = call["self"] if call.results()[0] is not call["self"] else None
    named = call.arguments.get("dim")
    dims = call.dims("self")
    if source is None or not dims:  # in place: the shape is gone, and only axes of size 1 went
        return [[axis for axis in dims if axis is not None and axis.size > 1]] if dims else [dims]
    numbers = range(len(dims)) if named is None else [named] if isinstance(named, int) else named
    gone = {number % len(dims) for number in numbers if source.shape[number] == 1}
    return [[axis for i, axis in enumerate(dims) if i not in gone]]


@rule("aten.expand", "aten.broadcast_to")
def expand(call: Call) -> Sequence[Dims]:
    """A repeated single position has no channels of its own: it takes those of whatever it meets."""
    source, result = call["self"], call.results()[0]
    dims = call.dims("self")
    lead = result.dim() - source.dim()
    return [
        [
            dims[i - lead] if i >= lead and source.shape[i - lead] == size else _free(size)
            for i, size in enumerate(result.shape)
        ]
    ]


def _free(size: int) -> Axis | None:
    return Axis(size) if size > 1 else None


@rule("aten.repeat")
def repeat(call: Call) -> Sequence[Dims]:
    """Copies one after the other: the axis becomes copies * axis."""
    source, result = call["self"], call.results()[0]
    dims = call.dims("self")
    lead = result.dim() - source.dim()
    found: Dims = []
    for i, size in enumerate(result.shape):
        axis, length = (dims[i - lead], source.shape[i - lead]) if i >= lead else (None, 1)
        if length == size:
            found.append(axis)
        elif length == 1:
            found.append(_free(size))
        else:
            found.append(None if axis is None else merge([Axis(size // length), axis]))
    return [found]


@rule("aten.zeros", "aten.ones", "aten.full", "aten.empty", "aten.new_zeros", "aten.new_ones", "aten.new_full",
      "aten.new_empty", "aten.empty_strided", "aten.new_empty_strided", "aten.empty.memory_format")  # fmt: skip
def constant(call: Call) -> Sequence[Dims]:
    """The same number everywhere: it takes the channels of whatever it meets."""
    return [[_free(size) for size in call.results()[0].shape]]


@rule("aten.cat", "aten.concat")
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


@rule("aten.split", "aten.split.Tensor", "aten.unsafe_split", "aten.tensor_split", "aten.chunk")
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
    """Positions move around."""
    dims = call.dims("self")
    for number in call["dims"]:
        call.freeze(dims[number], "its positions are shifted by number")
    return [list(dims)]


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
    *lead, axis, _ = call.dims("self")
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
    return [[*_with(dims, number, None), None]]


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


def _with(dims: Dims, number: int, axis: Axis | None) -> Dims:
    return [axis if i == number else other for i, other in enumerate(dims)]


def _without(dims: Dims, number: int) -> Dims:
    return [axis for i, axis in enumerate(dims) if i != number]
