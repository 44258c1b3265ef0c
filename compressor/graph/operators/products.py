"""Convolutions, matrix products and attention: channels are made from a weight's outputs, and read by its inputs."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from compressor.graph.axis import Axis, divide, merge
from compressor.graph.operators.call import Call, Dims, fixed, rule

ACROSS = "its groups divide channels across an earlier division"


@rule("aten.convolution", "aten._convolution", "aten.convolution_overrideable", "aten.mkldnn_convolution")
def convolution(call: Call) -> Sequence[Dims]:
    """input (B, C_in, ...), weight (C_out, C_in / groups, ...) or, transposed, (C_in, C_out / groups, ...)."""
    made = convolve(call, call["input"], call["weight"], call["groups"], bool(call.arguments.get("transposed")))
    if call.arguments.get("bias") is not None:
        made = call.match(made, call.dims("bias")[0])
    x = call.dims("input")
    batch = [x[0]] if call["input"].dim() == call["weight"].dim() else []
    return [[*batch, made, *[None] * (call["weight"].dim() - 2)]]


def convolve(call: Call, x: Tensor, weight: Tensor, groups: int, transposed: bool = False) -> Axis | None:
    """Matches the input's channels with the weight's, and returns the channels made."""
    channel = 1 if x.dim() == weight.dim() else 0
    x_dims, w_dims = call.dims_of(x), call.dims_of(weight)
    for axis in (a for i, a in enumerate(x_dims) if i > channel):
        call.freeze(axis, "it is used as rows or columns of an image")
    for axis in w_dims[2:]:
        call.freeze(axis, "it is a kernel's row or column")
    first, second = w_dims[0], w_dims[1]
    if call.origin_of(weight):
        call.makes.append(call.origin_of(weight))
    if groups == 1:
        read, made = (first, second) if transposed else (second, first)
        call.contract(x_dims[channel], read, x, weight)
        return made
    # The groups are an axis of their own, outermost on both sides: in = groups * in', out = groups * out'.
    x_outer, x_inner = _divided(call, x_dims[channel], groups, x.shape[channel])
    w_outer, w_inner = _divided(call, first, groups, weight.shape[0])
    outer = call.match(x_outer, w_outer)
    read, made_inner = (w_inner, second) if transposed else (second, w_inner)
    if x.shape[channel] > groups:
        call.contract(x_inner, read, x, weight)
    if outer is None and made_inner is None:
        return None
    fixed = call.why("it is of fixed size")
    n_made = weight.shape[1] if transposed else weight.shape[0] // groups
    return merge([outer or Axis(groups, fixed), made_inner or Axis(n_made, fixed)])


def _divided(call: Call, axis: Axis | None, outer: int, size: int) -> tuple[Axis | None, Axis | None]:
    if axis is None:
        return None, None
    first, second = divide(axis, [outer, size // outer], call.why(ACROSS))
    return first, None if second.size == 1 else second


@rule("aten.linear")
def linear(call: Call) -> Sequence[Dims]:
    """input (..., C_in), weight (C_out, C_in)"""
    x, weight = call.dims("input"), call.dims("weight")
    call.contract(x[-1], weight[1], call["input"], call["weight"])
    _makes(call, call["weight"])
    made = weight[0]
    if call.arguments.get("bias") is not None:
        made = call.match(made, call.dims("bias")[0])
    return [[*x[:-1], made]]


@rule("aten.mm", "aten.bmm", "aten.mv", "aten.dot", "aten.vdot")
def product(call: Call) -> Sequence[Dims]:
    """(..., n, k) times (..., k, m)"""
    a = call["self"]
    b = next(t for t in call.tensors() if t is not a) if len(call.tensors()) > 1 else a
    return [_multiply(call, a, b)]


@rule("aten.addmm", "aten.baddbmm", "aten.addbmm", "aten.addmv")
def add_product(call: Call) -> Sequence[Dims]:
    """A product, and what is added to it by broadcasting; `addbmm` sums over the batch."""
    names = [name for name in ("mat1", "mat2", "batch1", "batch2", "mat", "vec") if name in call.arguments]
    result = _multiply(call, call[names[0]], call[names[1]])
    if len(result) > call.results()[0].dim():
        summed, *result = result
        call.pooled += [summed] if summed is not None else []
    for place, axis in enumerate(reversed(call.dims("self")), 1):
        if call["self"].shape[-place] > 1:
            result[-place] = call.match(result[-place], axis)
    return [result]


def _multiply(call: Call, a: Tensor, b: Tensor) -> Dims:
    a_dims, b_dims = call.dims_of(a), call.dims_of(b)
    call.contract(a_dims[-1], b_dims[-2] if b.dim() > 1 else b_dims[-1], a, b)
    _makes(call, a)
    _makes(call, b)
    batch = [
        call.match(x, y) if a.shape[i] > 1 else None
        for i, (x, y) in enumerate(zip(a_dims[:-2], b_dims[:-2], strict=False))
    ]
    return [*batch, *(a_dims[-2:-1] if a.dim() > 1 else []), *(b_dims[-1:] if b.dim() > 1 else [])]


def _makes(call: Call, weight: Tensor) -> None:
    if call.origin_of(weight):
        call.makes.append(call.origin_of(weight))


@rule(
    "aten._scaled_dot_product_flash_attention_for_cpu", "aten._scaled_dot_product_flash_attention",
    "aten._scaled_dot_product_efficient_attention", "aten._scaled_dot_product_cudnn_attention",
    "aten._scaled_dot_product_fused_attention_overrideable", "aten._scaled_dot_product_attention_math_for_mps",
)  # fmt: skip
def attention(call: Call) -> Sequence[Dims]:
    """query (B, heads, L, E), key (B, heads, S, E), value (B, heads, S, E_v) -> (B, heads, L, E_v), and statistics."""
    q, k, v = call["query"], call["key"], call["value"]
    q_dims, k_dims, v_dims = call.dims_of(q), call.dims_of(k), call.dims_of(v)
    call.contract(q_dims[-1], k_dims[-1], q, k)
    if call.arguments.get("scale") is None:
        call.freeze(q_dims[-1], "the attention's scale follows from the head dimension")
    call.match(k_dims[-2], v_dims[-2])
    call.freeze(k_dims[-2], "it is summed over by a softmax")
    mask = call.arguments.get("attn_bias", call.arguments.get("attn_mask"))
    for axis in call.dims_of(mask)[-2:] if mask is not None else ():
        call.freeze(axis, "it is summed over by a softmax")
    lead = []
    for i in range(q.dim() - 2):
        axis = q_dims[i]
        for other, dims in ((k, k_dims), (v, v_dims)):
            if other.shape[i] == 1:  # all heads of queries read the same
                continue
            # Grouped queries: every head of keys and values is read by as many heads of queries, one after the other.
            read = _divided(call, axis, other.shape[i], q.shape[i])[0] if q.shape[i] > other.shape[i] else axis
            if read is not dims[i]:
                call.match(read, dims[i])
        if mask is not None and mask.dim() == q.dim() and mask.shape[i] > 1:
            call.match(axis, call.dims_of(mask)[i])
        lead.append(axis)
    out = [*lead, q_dims[-2], v_dims[-1]]
    return [out, *fixed(call, skip=1)]
