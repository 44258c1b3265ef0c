"""Activation functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from compressor.loading.programs import layers
from compressor.loading.programs.onnx_node import OnnxNode
from compressor.loading.programs.onnx_operators._helpers import Handler, unary
from compressor.loading.programs.values import Value


def _leaky_relu(node: OnnxNode) -> Value:
    return node.build.call(functional.leaky_relu, node.value(0), node.attribute("alpha", 0.01))


def _elu(node: OnnxNode) -> Value:
    return node.build.call(functional.elu, node.value(0), node.attribute("alpha", 1.0))


def _celu(node: OnnxNode) -> Value:
    return node.build.call(functional.celu, node.value(0), node.attribute("alpha", 1.0))


def _thresholded_relu(node: OnnxNode) -> Value:
    return node.build.call(functional.threshold, node.value(0), node.attribute("alpha", 1.0), 0.0)


def _hard_sigmoid(node: OnnxNode) -> Value:
    alpha, beta = node.attribute("alpha", 0.2), node.attribute("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return node.build.call(functional.hardsigmoid, node.value(0))
    scaled = node.build.call(torch.add, node.build.call(torch.mul, node.value(0), alpha), beta)
    return node.build.call(torch.clamp, scaled, 0.0, 1.0)


def _gelu(node: OnnxNode) -> Value:
    return node.build.call(functional.gelu, node.value(0), approximate=node.attribute("approximate", "none"))


def _swish(node: OnnxNode) -> Value:
    alpha, x = node.attribute("alpha", 1.0), node.value(0)
    if alpha == 1.0:
        return node.build.call(functional.silu, x)
    return node.build.call(torch.mul, x, node.build.call(torch.sigmoid, node.build.call(torch.mul, x, alpha)))


def _shrink(node: OnnxNode) -> Value:
    bias, threshold, x = node.attribute("bias", 0.0), node.attribute("lambd", 0.5), node.value(0)
    if bias == 0:
        return node.build.call(functional.hardshrink, x, threshold)
    if bias == threshold:
        return node.build.call(functional.softshrink, x, threshold)
    sign = node.build.call(torch.sign, x)
    inner = node.build.call(torch.sub, x, node.build.call(torch.mul, sign, bias))
    far = node.build.call(torch.gt, node.build.call(torch.abs, x), threshold)
    return node.build.call(torch.mul, inner, far)


def _softmax(function: Callable[..., Any]) -> Handler:
    def handler(node: OnnxNode) -> Value:
        x = node.value(0)
        axis = node.attribute("axis", -1 if node.opset >= 13 else 1) % x.ndim
        if node.opset >= 13 or all(length == 1 for length in x.tensor.shape[axis + 1 :]):
            return node.build.call(function, x, axis)
        flat = node.build.call(torch.flatten, x, axis)  # before opset 13: over all the axes from this one on
        shape = [int(length) for length in x.tensor.shape[axis:]]
        return node.build.call(torch.unflatten, node.build.call(function, flat, axis), axis, shape)

    return handler


def _prelu(node: OnnxNode) -> Value:
    """A slope per channel stands as (C, 1, 1) in the file, with as many axes in front as it likes."""
    x, slope = node.value(0), node.value(1)
    shape = [1] * (x.ndim - slope.ndim) + list(slope.tensor.shape)
    per_channel = [int(x.tensor.shape[1]) if axis == 1 else 1 for axis in range(x.ndim)] if x.ndim > 1 else []
    if slope.constant and (slope.tensor.numel() == 1 or shape == per_channel):
        return layers.prelu(node.build, x, node.build.constant(slope.tensor.reshape(-1), slope.name))
    scaled = node.build.call(torch.mul, x, slope)
    return node.build.call(torch.where, node.build.call(torch.gt, x, 0), x, scaled)


HANDLERS: dict[str, Handler] = {
    "Relu": unary(torch.relu),
    "Sigmoid": unary(torch.sigmoid),
    "Tanh": unary(torch.tanh),
    "Softplus": unary(functional.softplus),
    "Softsign": unary(functional.softsign),
    "Selu": unary(functional.selu),
    "Mish": unary(functional.mish),
    "HardSwish": unary(functional.hardswish),
    "HardSigmoid": _hard_sigmoid,
    "LeakyRelu": _leaky_relu,
    "Elu": _elu,
    "Celu": _celu,
    "ThresholdedRelu": _thresholded_relu,
    "Gelu": _gelu,
    "Swish": _swish,
    "Shrink": _shrink,
    "Softmax": _softmax(torch.softmax),
    "LogSoftmax": _softmax(torch.log_softmax),
    "PRelu": _prelu,
}
