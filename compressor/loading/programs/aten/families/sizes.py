"""Operators with sizes in their arguments."""

from __future__ import annotations

import operator
from functools import partial
from typing import Any

import torch

from compressor.loading.programs import sizes
from compressor.loading.programs.aten.registry import Arguments, Handler
from compressor.loading.programs.builder import Builder
from compressor.loading.programs.values import Dim, Value, calculate, in_run, n_elements


def _reshape(build: Builder, a: Arguments) -> Value:
    if a.get("dtype") is not None:  # view.dtype reads the bytes as other numbers
        return build.call(torch.Tensor.view, a["self"], a["dtype"])
    target = a.get("size") if a.get("size") is not None else a.get("shape")
    return sizes.reshape(build, a["self"], target)  # type: ignore[arg-type]


def _view_as(build: Builder, a: Arguments) -> Value:
    return sizes.reshape(build, a["self"], build.shape(a["other"]))


def _unflatten(build: Builder, a: Arguments) -> Value:
    x, shape = a["self"], build.shape(a["self"])
    dim = int(a["dim"]) % x.ndim
    return sizes.reshape(build, x, [*shape[:dim], *a["sizes"], *shape[dim + 1 :]])


def _flatten(build: Builder, a: Arguments) -> Value:
    return build.call(torch.flatten, a["self"], a["start_dim"], a["end_dim"])


def _expand(build: Builder, a: Arguments) -> Value:
    x, target = a["self"], a["size"]
    if x.matrix is not None and x.ndim == 2 and len(target) == 3 and not any(isinstance(size, Dim) for size in target):
        # A weight repeated for every sample; the linear layer that reads it does not need that.
        wide = x.tensor.expand(target)
        late = partial(sizes.expand, build, x, target)
        return Value((wide,), None, x.name, constant=True, trainable=True, matrix=x.matrix, late=late)
    return sizes.expand(build, x, target)


def _repeat(build: Builder, a: Arguments) -> Value:
    x, repeats = a["self"], a["repeats"] if "repeats" in a else a["dims"]
    n_new = len(repeats) - x.ndim
    lengths = [1] * n_new + list(x.tensor.shape)
    grows = [isinstance(count, Dim) or count != 1 for count in repeats]
    if n_new >= 0 and all(length == 1 for length, grow in zip(lengths, grows, strict=True) if grow):
        wide = sizes.expand(build, x, [count if grow else -1 for count, grow in zip(repeats, grows, strict=True)])
        return build.call(torch.clone, wide) if wide is not x else x
    return build.call(torch.tile, x, tuple(repeats))


def _cat(build: Builder, a: Arguments) -> Value:
    parts = [part for part in a["tensors"] if tuple(part.tensor.shape) != (0,)]  # torch passes over empty ones
    return sizes.concatenate(build, parts, a["dim"]) if len(parts) > 1 else parts[0]


def _split(build: Builder, a: Arguments) -> list[Value]:
    pieces = a["split_size"] if "split_size" in a else a["split_sizes"]
    if isinstance(pieces, (list, tuple)):
        return sizes.split(build, a["self"], pieces, a["dim"])
    return sizes.split_equally(build, a["self"], pieces, a["dim"])


def _chunk(build: Builder, a: Arguments) -> list[Value]:
    return build.call(torch.chunk, a["self"], a["chunks"], a["dim"])


def _slice(build: Builder, a: Arguments) -> Value:
    return sizes.slice_(build, a["self"], a["dim"], a["start"], a["end"], a["step"])


def _narrow(build: Builder, a: Arguments) -> Value:
    start, length = a["start"], a["length"]
    axis = build.size(a["self"], a["dim"])
    if isinstance(start, int) and start < 0:
        start = axis + start
    return sizes.slice_(build, a["self"], a["dim"], start, start + length)


def _pad(build: Builder, a: Arguments) -> Value:
    mode = a.get("mode") or "constant"
    return sizes.pad(build, a["self"], a["pad"], mode, a.get("value") or 0.0)


def _padding(mode: str) -> Handler:
    def handler(build: Builder, a: Arguments) -> Value:
        return sizes.pad(build, a["self"], a["padding"], mode, 0.0)

    return handler


def _full(value: float | None) -> Handler:
    def handler(build: Builder, a: Arguments) -> Value:
        target = a["size"]
        number = a["fill_value"] if value is None else value
        like = a.get("self")
        dtype = a.get("dtype") or (like.dtype if like is not None else _kind(number if value is None else 0.0))
        return sizes.full(build, target, number, dtype)

    return handler


def _kind(number: Any) -> torch.dtype:
    if isinstance(number, bool):
        return torch.bool
    return torch.int64 if isinstance(number, int) else torch.get_default_dtype()


def _full_like(value: float | None) -> Handler:
    def handler(build: Builder, a: Arguments) -> Value:
        x = a["self"]
        number = a["fill_value"] if value is None else value
        shape = build.shape(x)
        if not any(isinstance(size, Dim) for size in shape):
            return sizes.full(build, shape, number, a.get("dtype") or x.dtype)
        return build.call(torch.full_like, x, number, dtype=a.get("dtype"))

    return handler


def _arange(build: Builder, a: Arguments) -> Value:
    start, stop, step = a.get("start") or 0, a["end"], a.get("step") or 1
    whole = all(not isinstance(number, float) for number in (start, stop, step))
    return sizes.arange(build, start, stop, step, a["dtype"] or (torch.int64 if whole else torch.get_default_dtype()))


def _size(build: Builder, a: Arguments) -> Any:
    dim = a.get("dim")
    return build.shape(a["self"]) if dim is None else build.size(a["self"], int(dim))


def _numel(build: Builder, a: Arguments) -> Any:
    total: Any = 1
    for size in build.shape(a["self"]):
        total = calculate(operator.mul, total, size)
    return total


def _as_strided(build: Builder, a: Arguments) -> Value:
    """Memory layouts are no operators; those that only say "contiguous" are reshapes."""
    x, target = a["self"], a["size"]
    shape, stride = ([int(in_run(size, 0)) for size in part] for part in (target, a["stride"]))
    result = torch.as_strided(x.tensor, shape, stride)
    if n_elements(tuple(result.shape)) == x.tensor.numel() and torch.equal(result, x.tensor.reshape(result.shape)):
        return sizes.reshape(build, x, target)
    return build.call(torch.as_strided, x, target, a["stride"], a["storage_offset"])


HANDLERS: dict[str, Handler] = {
    "aten::view": _reshape,
    "aten::reshape": _reshape,
    "aten::_unsafe_view": _reshape,
    "aten::_reshape_alias": _reshape,
    "aten::view_as": _view_as,
    "aten::reshape_as": _view_as,
    "aten::unflatten": _unflatten,
    "aten::flatten": _flatten,
    "aten::expand": _expand,
    "aten::broadcast_to": _expand,
    "aten::repeat": _repeat,
    "aten::tile": _repeat,
    "aten::cat": _cat,
    "aten::split": _split,
    "aten::split_with_sizes": _split,
    "aten::split_copy": _split,
    "aten::split_with_sizes_copy": _split,
    "aten::unsafe_split": _split,
    "aten::unsafe_split_with_sizes": _split,
    "aten::chunk": _chunk,
    "aten::unsafe_chunk": _chunk,
    "aten::slice": _slice,
    "aten::slice_copy": _slice,
    "aten::narrow": _narrow,
    "aten::pad": _pad,
    "aten::constant_pad_nd": _pad,
    "aten::reflection_pad1d": _padding("reflect"),
    "aten::reflection_pad2d": _padding("reflect"),
    "aten::reflection_pad3d": _padding("reflect"),
    "aten::replication_pad1d": _padding("replicate"),
    "aten::replication_pad2d": _padding("replicate"),
    "aten::replication_pad3d": _padding("replicate"),
    "aten::zeros": _full(0.0),
    "aten::ones": _full(1.0),
    "aten::full": _full(None),
    "aten::empty": _full(0.0),
    "aten::new_zeros": _full(0.0),
    "aten::new_ones": _full(1.0),
    "aten::new_full": _full(None),
    "aten::new_empty": _full(0.0),
    "aten::zeros_like": _full_like(0.0),
    "aten::ones_like": _full_like(1.0),
    "aten::full_like": _full_like(None),
    "aten::empty_like": _full_like(0.0),
    "aten::arange": _arange,
    "aten::size": _size,
    "aten::sym_size": _size,
    "aten::sym_numel": _numel,
    "aten::numel": _numel,
    "aten::as_strided": _as_strided,
}
