"""Operators of training, of checking and of memory, which mean nothing once the module is one for pruning."""

from __future__ import annotations

from typing import Any

import torch

from compressor.loading.programs.aten.registry import Arguments, Handler, first_of
from compressor.loading.programs.builder import Builder
from compressor.loading.programs.values import Value


def _same(build: Builder, a: Arguments) -> Value:
    return a["self"] if "self" in a else a["input"]


def _first_same(build: Builder, a: Arguments) -> Any:
    return first_of(_same(build, a))


def _nothing(build: Builder, a: Arguments) -> None:
    return None


def _to(build: Builder, a: Arguments) -> Value:
    """Only a change of the kind of numbers counts; the device is where the module is."""
    x = a["self"]
    dtype = a["other"].dtype if a.get("other") is not None else a.get("dtype")
    return x if dtype is None or dtype == x.dtype else build.call(torch.Tensor.to, x, dtype)


HANDLERS: dict[str, Handler] = {
    "aten::dropout": _same,
    "aten::dropout_": _same,
    "aten::feature_dropout": _same,
    "aten::feature_dropout_": _same,
    "aten::alpha_dropout": _same,
    "aten::alpha_dropout_": _same,
    "aten::feature_alpha_dropout": _same,
    "aten::native_dropout": _first_same,
    "aten::lift_fresh_copy": _same,
    "aten::lift_fresh": _same,
    "aten::alias": _same,
    "aten::detach": _same,
    "aten::detach_": _same,
    "aten::_assert_tensor_metadata": _nothing,
    "aten::_assert_async": _nothing,
    "aten::_assert_scalar": _nothing,
    "aten::sym_constrain_range": _nothing,
    "aten::sym_constrain_range_for_size": _nothing,
    "aten::to": _to,
    "aten::_to_copy": _to,
}
