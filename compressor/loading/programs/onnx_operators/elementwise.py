"""Arithmetic, comparisons and logic, element by element."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch

from compressor.loading.programs.onnx_dtypes import torch_dtype
from compressor.loading.programs.onnx_names import readable
from compressor.loading.programs.onnx_node import OnnxNode
from compressor.loading.programs.onnx_operators._helpers import Handler, unary
from compressor.loading.programs.values import Value


def _binary(function: Callable[..., Any], **options: Any) -> Handler:
    """Constants of one element are written as numbers, which take the other's kind."""

    def handler(node: OnnxNode) -> Value:
        left, right = node.value(0), node.value(1)
        if right.constant and right.tensor.numel() == 1 and right.ndim <= left.ndim and not left.constant:
            return node.build.call(function, left, right.tensor.item(), **options)
        return node.build.call(function, left, right, **options)

    return handler


def _div(node: OnnxNode) -> Value:
    return (_binary(torch.div) if node.value(0).dtype.is_floating_point else _binary(torch.div, rounding_mode="trunc"))(
        node
    )


def _power(node: OnnxNode) -> Value:
    return _binary(torch.pow)(node)


def _modulo(node: OnnxNode) -> Value:
    return _binary(torch.fmod if node.attribute("fmod", 0) else torch.remainder)(node)


def _many(function: Callable[..., Any]) -> Handler:
    """Any number of inputs, joined two by two."""

    def handler(node: OnnxNode) -> Value:
        values = [node.value(index) for index in range(len(node.inputs))]
        return reduce(lambda left, right: node.build.call(function, left, right), values)

    return handler


def _mean(node: OnnxNode) -> Value:
    return node.build.call(torch.div, _many(torch.add)(node), len(node.inputs))


def _clip(node: OnnxNode) -> Value:
    lower = node.attribute("min") if not node.has(1) else node.scalar(1)
    upper = node.attribute("max") if not node.has(2) else node.scalar(2)
    if lower is None and upper is None:
        return node.value(0)
    return node.build.call(torch.clamp, node.value(0), lower, upper)


def _cast(node: OnnxNode) -> Value:
    dtype = node.value(1).dtype if node.op == "CastLike" else torch_dtype(node.attribute("to"))
    x = node.value(0)
    return x if x.dtype == dtype else node.build.call(torch.Tensor.to, x, dtype)


def _where(node: OnnxNode) -> Value:
    return node.build.call(torch.where, node.value(0), node.value(1), node.value(2))


def _shift(node: OnnxNode) -> Value:
    left = node.attribute("direction") == "LEFT"
    return node.build.call(
        torch.bitwise_left_shift if left else torch.bitwise_right_shift, node.value(0), node.value(1)
    )


def _is_infinite(node: OnnxNode) -> Value:
    up, down = node.attribute("detect_positive", 1), node.attribute("detect_negative", 1)
    function = torch.isinf if up and down else torch.isposinf if up else torch.isneginf
    return node.build.call(function, node.value(0))


def _same(node: OnnxNode) -> Value:
    """Exporters also write it for a weight that equals another one: by chance, under its own name, or shared."""
    x = node.value(0)
    return node.build.constant(x.tensor, readable(node.outputs[0])) if x.constant and not node.build.shared(x) else x


def _dropout(node: OnnxNode) -> list[Value | None]:
    return [node.value(0), None]


HANDLERS: dict[str, Handler] = {
    "Add": _binary(torch.add),
    "Sub": _binary(torch.sub),
    "Mul": _binary(torch.mul),
    "Div": _div,
    "Pow": _power,
    "Mod": _modulo,
    "Max": _many(torch.maximum),
    "Min": _many(torch.minimum),
    "Sum": _many(torch.add),
    "Mean": _mean,
    "Neg": unary(torch.neg),
    "Abs": unary(torch.abs),
    "Sqrt": unary(torch.sqrt),
    "Exp": unary(torch.exp),
    "Log": unary(torch.log),
    "Reciprocal": unary(torch.reciprocal),
    "Floor": unary(torch.floor),
    "Ceil": unary(torch.ceil),
    "Round": unary(torch.round),
    "Sign": unary(torch.sign),
    "Sin": unary(torch.sin),
    "Cos": unary(torch.cos),
    "Tan": unary(torch.tan),
    "Asin": unary(torch.asin),
    "Acos": unary(torch.acos),
    "Atan": unary(torch.atan),
    "Sinh": unary(torch.sinh),
    "Cosh": unary(torch.cosh),
    "Asinh": unary(torch.asinh),
    "Acosh": unary(torch.acosh),
    "Atanh": unary(torch.atanh),
    "Erf": unary(torch.erf),
    "IsNaN": unary(torch.isnan),
    "IsInf": _is_infinite,
    "Not": unary(torch.logical_not),
    "And": _binary(torch.logical_and),
    "Or": _binary(torch.logical_or),
    "Xor": _binary(torch.logical_xor),
    "BitwiseAnd": _binary(torch.bitwise_and),
    "BitwiseOr": _binary(torch.bitwise_or),
    "BitwiseXor": _binary(torch.bitwise_xor),
    "BitwiseNot": unary(torch.bitwise_not),
    "BitShift": _shift,
    "Equal": _binary(torch.eq),
    "Greater": _binary(torch.gt),
    "GreaterOrEqual": _binary(torch.ge),
    "Less": _binary(torch.lt),
    "LessOrEqual": _binary(torch.le),
    "Where": _where,
    "Clip": _clip,
    "Cast": _cast,
    "CastLike": _cast,
    "Identity": _same,
    "Dropout": _dropout,
}
