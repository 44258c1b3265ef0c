"""Norms."""

from __future__ import annotations

import torch
from torch.nn import functional

from compressor.loading.programs import layers
from compressor.loading.programs.onnx_node import OnnxNode
from compressor.loading.programs.onnx_operators._helpers import Handler, normal_axes
from compressor.loading.programs.values import Value


def _batch(node: OnnxNode) -> list[Value | None]:
    weight, bias, mean, var = (node.value(index) for index in range(1, 5))
    momentum = 1 - node.attribute("momentum", 0.9)  # ONNX says how much stays, torch how much is new
    eps = node.attribute("epsilon", 1e-5)
    return [
        layers.batch_norm(node.build, node.value(0), weight, bias, mean, var, momentum, eps),
        None,
        None,
        None,
        None,
    ]


def _layer(node: OnnxNode) -> list[Value | None]:
    x, weight, bias = node.value(0), node.optional(1), node.optional(2)
    eps = node.attribute("epsilon", 1e-5)
    own = node.attribute("compressor_axes")  # of a norm that `onnx_patterns` put together
    axis = node.attribute("axis", -1) % x.ndim if own is None else x.ndim - len(own)
    if own is not None and sorted(normal_axes(own, x.ndim)) != list(range(axis, x.ndim)):
        return [_written_out(node, x, weight, bias, normal_axes(own, x.ndim), eps)]
    shape = [int(length) for length in x.tensor.shape[axis:]]
    weight, bias = _shaped(node, weight, shape), _shaped(node, bias, shape)
    return [layers.layer_norm(node.build, x, shape, weight, bias, eps), None, None]


def _written_out(
    node: OnnxNode, x: Value, weight: Value | None, bias: Value | None, axes: list[int], eps: float
) -> Value:
    """A norm over other axes than the last ones, for which torch has no layer."""
    build = node.build
    centred = build.call(torch.sub, x, build.call(torch.mean, x, axes, keepdim=True))
    variance = build.call(torch.mean, build.call(torch.square, centred), axes, keepdim=True)
    result = build.call(torch.div, centred, build.call(torch.sqrt, build.call(torch.add, variance, eps)))
    result = result if weight is None else build.call(torch.mul, result, weight)
    return result if bias is None else build.call(torch.add, result, bias)


def _shaped(node: OnnxNode, value: Value | None, shape: list[int]) -> Value | None:
    """The file may leave the broadcasting of weights to the runtime; a layer wants them whole."""
    if value is None or not value.constant or list(value.tensor.shape) == shape:
        return value
    return node.build.constant(value.tensor.expand(shape).contiguous(), value.name)


def _rms(node: OnnxNode) -> list[Value | None]:
    x = node.value(0)
    axis = node.attribute("axis", -1) % x.ndim
    shape = [int(length) for length in x.tensor.shape[axis:]]
    weight = _shaped(node, node.optional(1), shape)
    return [layers.rms_norm(node.build, x, shape, weight, node.attribute("epsilon", 1e-5)), None]


def _instance(node: OnnxNode) -> Value:
    eps = node.attribute("epsilon", 1e-5)
    return layers.instance_norm(node.build, node.value(0), node.value(1), node.value(2), eps)


def _group(node: OnnxNode) -> Value:
    build, x, weight, bias = node.build, node.value(0), node.optional(1), node.optional(2)
    n_groups, eps = node.attribute("num_groups"), node.attribute("epsilon", 1e-5)
    n = int(x.tensor.shape[1])
    weight, bias = (value and _flat(node, value) for value in (weight, bias))
    if weight is None or bias is None:
        return _half_weighted(node, x, n_groups, weight, bias, eps)
    if weight.constant and bias.constant and weight.tensor.numel() == n_groups != n:  # before opset 21: one per group
        weight, bias = (build.constant(v.tensor.repeat_interleave(n // n_groups), v.name) for v in (weight, bias))
    return layers.group_norm(build, x, n_groups, weight, bias, eps)


def _flat(node: OnnxNode, value: Value) -> Value:
    """(C, 1, 1) -> (C,)."""
    if not value.constant or value.ndim == 1:
        return value
    return node.build.constant(value.tensor.reshape(-1), value.name)


def _half_weighted(
    node: OnnxNode, x: Value, n_groups: int, weight: Value | None, bias: Value | None, eps: float
) -> Value:
    """torch's layer has both a weight and a bias, or neither."""
    if weight is not None and weight.constant:
        bias = node.build.constant(torch.zeros_like(weight.tensor))
    return layers.group_norm(node.build, x, n_groups, weight, bias, eps)


def _lp(node: OnnxNode) -> Value:
    axis, p = node.attribute("axis", -1), node.attribute("p", 2)
    return node.build.call(functional.normalize, node.value(0), p=float(p), dim=axis, eps=0.0)


def _mean_variance(node: OnnxNode) -> Value:
    build, x = node.build, node.value(0)
    axes = normal_axes(node.attribute("axes", [0, 2, 3]), x.ndim)
    centred = build.call(torch.sub, x, build.call(torch.mean, x, axes, keepdim=True))
    variance = build.call(torch.mean, build.call(torch.mul, centred, centred), axes, keepdim=True)
    return build.call(torch.div, centred, build.call(torch.add, build.call(torch.sqrt, variance), 1e-9))


def _local_response(node: OnnxNode) -> Value:
    size, alpha = node.attribute("size"), node.attribute("alpha", 1e-4)
    beta, bias = node.attribute("beta", 0.75), node.attribute("bias", 1.0)
    return node.build.call(functional.local_response_norm, node.value(0), size, alpha, beta, bias)


HANDLERS: dict[str, Handler] = {
    "BatchNormalization": _batch,
    "LayerNormalization": _layer,
    "RMSNormalization": _rms,
    "InstanceNormalization": _instance,
    "GroupNormalization": _group,
    "LpNormalization": _lp,
    "MeanVarianceNormalization": _mean_variance,
    "LRN": _local_response,
}
