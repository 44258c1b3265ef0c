"""Reductions and norms: what is computed over several channels at once, over those that stay."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from compressor.graph.axis import divide
from compressor.graph.operators.call import Call, Dims, fixed, pointwise, rule


@rule(
    "aten.mean", "aten.sum", "aten.amax", "aten.amin", "aten.max", "aten.min", "aten.var", "aten.var_mean", "aten.std",
    "aten.std_mean", "aten.prod", "aten.norm", "aten.linalg_vector_norm", "aten.logsumexp", "aten.any", "aten.all",
    "aten.nansum", "aten.median", "aten.mode", "aten.aminmax",
)  # fmt: skip
def reduce(call: Call) -> Sequence[Dims]:
    """Axes that are reduced over go, or become a single position."""
    if "other" in call.arguments:  # aten.max of two tensors
        return pointwise(call)
    dims = call.dims("self")
    named = call.arguments.get("dim")
    if named is None or named == []:
        numbers = set(range(len(dims)))
    else:
        numbers = {number % len(dims) for number in ([named] if isinstance(named, int) else named)} if dims else set()
    call.pooled += [axis for i in numbers if (axis := dims[i]) is not None]
    if call.arguments.get("keepdim"):
        found = [None if i in numbers else axis for i, axis in enumerate(dims)]
    else:
        found = [axis for i, axis in enumerate(dims) if i not in numbers]
    for positions in call.results()[1:]:
        if positions.dtype == torch.int64:  # where the largest is
            for i in numbers:
                call.counts(positions, dims[i])
    return [list(found) for _ in call.results()]


@rule(
    "aten._softmax", "aten._log_softmax", "aten._safe_softmax", "aten.cumsum", "aten.cumprod", "aten.logcumsumexp",
)  # fmt: skip
def along(call: Call) -> Sequence[Dims]:
    """Each position depends on all others of the axis."""
    dims = call.dims("self")
    if dims:
        call.freeze(dims[call.axis_number()], "each of its channels depends on all others")
    return [list(dims)]


@rule("aten._fft_c2c", "aten._fft_r2c", "aten._fft_c2r")
def transform(call: Call) -> Sequence[Dims]:
    """Frequencies along the named axes, which may have another number of positions."""
    dims = list(call.dims("self"))
    for number in call["dim"]:
        call.freeze(dims[number], "its positions become frequencies")
        dims[number] = None
    return [dims]


@rule("aten.argmax", "aten.argmin")
def position_of(call: Call) -> Sequence[Dims]:
    """Where the largest or smallest is."""
    dims = call.dims("self")
    named = call.arguments.get("dim")
    for i, axis in enumerate(dims):
        if named is None or i == named % len(dims):
            call.freeze(axis, "its positions are counted")
    if named is None:
        return [[None] * call.results()[0].dim()]
    number = named % max(1, len(dims))
    if call.arguments.get("keepdim"):
        return [[None if i == number else axis for i, axis in enumerate(dims)]]
    return [[axis for i, axis in enumerate(dims) if i != number]]


@rule("aten.topk", "aten.sort", "aten.kthvalue")
def order(call: Call) -> Sequence[Dims]:
    """Positions by size."""
    dims = list(call.dims("self"))
    if not dims:
        return [[] for _ in call.results()]
    number = call.arguments.get("dim", -1) % len(dims)
    call.freeze(dims[number], "it is sorted")
    dims[number] = None
    return [list(dims) for _ in call.results()]


@rule(
    "aten.native_batch_norm", "aten._native_batch_norm_legit_no_training", "aten._native_batch_norm_legit",
    "aten._batch_norm_no_update", "aten._batch_norm_with_update", "aten.cudnn_batch_norm", "aten.miopen_batch_norm",
)  # fmt: skip
def batch_norm(call: Call) -> Sequence[Dims]:
    """Axis 1 channel by channel; where statistics are taken from the batch itself, over all other axes."""
    x = list(call.dims("input"))
    for name in ("weight", "bias", "running_mean", "running_var"):
        if call.arguments.get(name) is not None:
            x[1] = call.match(x[1], call.dims(name)[0])
    if call.arguments.get("training") or call.arguments.get("running_mean") is None:
        call.pooled += [axis for i, axis in enumerate(x) if i != 1 and axis is not None]
    return [x, *fixed(call, skip=1)]


@rule("aten.native_layer_norm", "aten._fused_rms_norm")
def layer_norm(call: Call) -> Sequence[Dims]:
    """The last axes together, each with its own scale and shift."""
    dims = list(call.dims("input"))
    n = len(call["normalized_shape"])
    for name in ("weight", "bias"):
        if call.arguments.get(name) is not None:
            for i, axis in enumerate(call.dims(name)):
                dims[i - n] = call.match(dims[i - n], axis)
    call.pooled += [axis for axis in dims[-n:] if axis is not None]
    return [dims, *fixed(call, skip=1)]


@rule("aten.native_group_norm")
def group_norm(call: Call) -> Sequence[Dims]:
    """(B, groups * channels, ...): whole groups may go, and channels inside all of them alike."""
    x = list(call.dims("input"))
    for name in ("weight", "bias"):
        if call.arguments.get(name) is not None:
            x[1] = call.match(x[1], call.dims(name)[0])
    if x[1] is not None:
        groups: int = call["group"]
        _, inner = divide(x[1], [groups, x[1].size // groups], call.why("it crosses an earlier division"))
        call.pooled.append(inner)
    for axis in x[2:]:
        call.freeze(axis, "it is used as rows or columns of an image")
    return [x, *fixed(call, skip=1)]


@rule("aten._weight_norm_interface")
def weight_norm(call: Call) -> Sequence[Dims]:
    """g * v / |v|, the length taken over all axes but `dim`."""
    v, g = list(call.dims("v")), call.dims("g")
    number = call.arguments.get("dim", 0) % len(v)
    v[number] = call.match(v[number], g[number])
    call.pooled += [axis for i, axis in enumerate(v) if i != number and axis is not None]
    return [v, *[list(g) for _ in call.results()[1:]]]


@rule(
    "aten.max_pool2d_with_indices", "aten.max_pool3d_with_indices", "aten.mkldnn_max_pool2d",
    "aten.fractional_max_pool2d", "aten.avg_pool2d", "aten.avg_pool3d", "aten._adaptive_avg_pool2d",
    "aten._adaptive_avg_pool3d", "aten.adaptive_max_pool2d", "aten.adaptive_max_pool3d", "aten.upsample_nearest1d",
    "aten.upsample_nearest2d", "aten.upsample_nearest3d", "aten._upsample_nearest_exact1d",
    "aten._upsample_nearest_exact2d", "aten._upsample_nearest_exact3d", "aten.upsample_linear1d",
    "aten.upsample_bilinear2d", "aten._upsample_bilinear2d_aa", "aten.upsample_bicubic2d",
    "aten._upsample_bicubic2d_aa", "aten.upsample_trilinear3d", "aten.reflection_pad1d", "aten.reflection_pad2d",
    "aten.reflection_pad3d", "aten.replication_pad1d", "aten.replication_pad2d", "aten.replication_pad3d",
)  # fmt: skip
def resize(call: Call) -> Sequence[Dims]:
    """Pools, resizing and padding of images: the last axes are rows and columns."""
    dims = list(call.dims_of(call.tensors()[0]))
    n = int(next((letter for letter in call.operator._opname if letter in "123"), "2"))
    for axis in dims[-n:]:
        call.freeze(axis, "it is used as rows or columns of an image")
    return [[*dims[:-n], *[None] * n] for _ in call.results()]


@rule("aten.grid_sampler_2d", "aten.grid_sampler_3d")
def sample(call: Call) -> Sequence[Dims]:
    """input (B, C, H, W), grid (B, h, w, 2) -> (B, C, h, w)"""
    dims = call.dims("input")
    for axis in [*dims[2:], *call.dims("grid")[1:]]:
        call.freeze(axis, "it is used as rows or columns of an image")
    return [[dims[0], dims[1], *[None] * (len(dims) - 2)]]
