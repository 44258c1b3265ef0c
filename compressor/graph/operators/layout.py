"""Operators that move elements without computing: the axes go with them."""

from __future__ import annotations

from collections.abc import Sequence

from compressor.graph.axis import Axis, divide, merge
from compressor.graph.operators.call import Call, Dims, broadcast, rule, unknown


@rule(
    "aten.alias", "aten.detach", "aten.clone", "aten._to_copy", "aten.lift_fresh_copy", "aten.lift_fresh",
    "aten.zeros_like", "aten.ones_like", "aten.full_like", "aten.empty_like", "aten.fill", "aten.zero",
    "aten.native_dropout", "aten.bernoulli", "aten.rand_like", "aten.randn_like",
)  # fmt: skip
def same(call: Call) -> Sequence[Dims]:
    """One tensor in, tensors of its shape out."""
    dims = call.dims_of(call.tensors()[0])
    return [list(dims) for _ in call.results()]


@rule("aten.tril", "aten.triu")
def triangle(call: Call) -> Sequence[Dims]:
    """Which elements stay depends on the numbers of their row and column."""
    dims = call.dims("self")
    for axis in dims[-2:]:
        call.freeze(axis, "its rows and columns are compared by number")
    return [[*dims[:-2], None, None]]


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


@rule("aten.view", "aten._unsafe_view", "aten._reshape_alias")
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


@rule("aten.view.dtype")
def reinterpret(call: Call) -> Sequence[Dims]:
    """The same bytes as numbers of another kind; of one size, or the last axis changes."""
    dims = call.dims("self")
    if call["self"].shape == call.results()[0].shape:
        return [list(dims)]
    call.freeze(dims[-1], "its bytes are read as numbers of another size")
    return [[*dims[:-1], None]]


@rule("aten.view_as_real")
def as_real(call: Call) -> Sequence[Dims]:
    """A new last axis: the real and the imaginary part."""
    return [[*call.dims("self"), None]]


@rule("aten.view_as_complex")
def as_complex(call: Call) -> Sequence[Dims]:
    """The last axis holds real and imaginary parts, and goes."""
    dims = call.dims("self")
    call.freeze(dims[-1], "its positions are real and imaginary parts")
    return [dims[:-1]]


@rule("aten.permute")
def permute(call: Call) -> Sequence[Dims]:
    """Axes in another order."""
    dims = call.dims("self")
    return [[dims[number] for number in call["dims"]]]


@rule("aten.transpose")
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
    dims, shape = call.dims("self"), call.shapes[0]
    named = call.arguments.get("dim")
    numbers = range(len(dims)) if named is None else [named] if isinstance(named, int) else named
    gone = {number % len(dims) for number in numbers if shape[number] == 1} if dims else set()
    return [[axis for i, axis in enumerate(dims) if i not in gone]]


@rule("aten.expand")
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
