"""Operators with weights."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from compressor.loading.programs import layers
from compressor.loading.programs.aten.registry import Arguments, Handler, first_of
from compressor.loading.programs.builder import Builder
from compressor.loading.programs.values import Value


def _conv(build: Builder, a: Arguments) -> Value:
    return layers.convolution(
        build, a["input"], a["weight"], a["bias"], a["stride"], a["padding"], a["dilation"], a["groups"]
    )


def _conv_transpose(build: Builder, a: Arguments) -> Value:
    return layers.convolution(
        build,
        a["input"],
        a["weight"],
        a["bias"],
        a["stride"],
        a["padding"],
        a["dilation"],
        a["groups"],
        transposed=True,
        output_padding=a["output_padding"],
    )


def _convolution(build: Builder, a: Arguments) -> Value:
    return _conv_transpose(build, a) if a["transposed"] else _conv(build, a)


def _linear(build: Builder, a: Arguments) -> Value:
    return layers.linear(build, a["input"], a["weight"], a["bias"])


def _addmm(build: Builder, a: Arguments) -> Value:
    weight, bias = a["mat2"], a["self"]
    plain = bias.constant and bias.ndim == 1 and a["beta"] == 1 and a["alpha"] == 1
    if plain and weight.constant and weight.matrix is not None:
        return layers.linear(build, a["mat1"], weight.matrix, bias)
    return build.call(torch.addmm, bias, a["mat1"], weight, beta=a["beta"], alpha=a["alpha"])


def _matmul(build: Builder, a: Arguments) -> Value:
    x, weight = a["self"], a["mat2" if "mat2" in a else "other"]
    if weight.constant and weight.matrix is not None and weight.ndim == 2 and not x.constant:
        return layers.linear(build, x, weight.matrix, None)
    return build.call(torch.matmul, x, weight)


def _bmm(build: Builder, a: Arguments) -> Value:
    """Decomposed programs repeat a linear layer's weight for every sample."""
    x, weight = a["self"], a["mat2"]
    if weight.constant and weight.matrix is not None and not x.constant:
        return layers.linear(build, x, weight.matrix, None)
    return build.call(torch.bmm, x, weight)


def _transpose(build: Builder, a: Arguments) -> Value:
    x = a["self"]
    if "dims" in a:
        axes = [int(axis) % max(x.ndim, 1) for axis in a["dims"]]
    else:
        axes = list(range(x.ndim))
        if x.ndim > 1:
            first, second = int(a.get("dim0", 0)) % x.ndim, int(a.get("dim1", 1)) % x.ndim
            axes[first], axes[second] = axes[second], axes[first]
    if x.constant and x.trainable and axes == [1, 0]:
        # The linear layer that reads it wants the matrix as it stands in the file.
        late = partial(build.call, torch.ops.aten.transpose.int, x, 0, 1)
        return Value((x.tensor.detach().t(),), None, x.name, constant=True, trainable=True, matrix=x, late=late)
    if "dims" in a:
        return build.call(torch.permute, x, axes)
    return build.call(torch.ops.aten.transpose.int, x, a.get("dim0", 0), a.get("dim1", 1)) if x.ndim > 1 else x


def _batch_norm(build: Builder, a: Arguments) -> Value:
    # A program that was exported in training mode says training=True; it is taken as in evaluation.
    mean, var = a.get("running_mean"), a.get("running_var")
    return layers.batch_norm(build, a["input"], a["weight"], a["bias"], mean, var, a["momentum"], a["eps"])


def _layer_norm(build: Builder, a: Arguments) -> Value:
    return layers.layer_norm(build, a["input"], a["normalized_shape"], a["weight"], a["bias"], a["eps"])


def _rms_norm(build: Builder, a: Arguments) -> Value:
    return layers.rms_norm(build, a["input"], a["normalized_shape"], a["weight"], a["eps"])


def _group_norm(build: Builder, a: Arguments) -> Value:
    n_groups = a["num_groups"] if "num_groups" in a else a["group"]
    return layers.group_norm(build, a["input"], n_groups, a["weight"], a["bias"], a["eps"])


def _instance_norm(build: Builder, a: Arguments) -> Value:
    if a["use_input_stats"]:
        return layers.instance_norm(build, a["input"], a["weight"], a["bias"], a["eps"])
    mean, var = a["running_mean"], a["running_var"]
    return layers.batch_norm(build, a["input"], a["weight"], a["bias"], mean, var, a["momentum"], a["eps"])


def _embedding(build: Builder, a: Arguments) -> Value:
    padding = a["padding_idx"]
    return layers.embedding(build, a["indices"], a["weight"], padding if padding is not None and padding >= 0 else None)


def _prelu(build: Builder, a: Arguments) -> Value:
    return layers.prelu(build, a["self"], a["weight"])


def _pair(handler: Handler) -> Handler:
    def first(build: Builder, a: Arguments) -> Any:
        return first_of(handler(build, a))

    return first


HANDLERS: dict[str, Handler] = {
    "aten::conv1d": _conv,
    "aten::conv2d": _conv,
    "aten::conv3d": _conv,
    "aten::_convolution_mode": _conv,
    "aten::convolution": _convolution,
    "aten::_convolution": _convolution,
    "aten::conv_transpose1d": _conv_transpose,
    "aten::conv_transpose2d": _conv_transpose,
    "aten::conv_transpose3d": _conv_transpose,
    "aten::linear": _linear,
    "aten::addmm": _addmm,
    "aten::mm": _matmul,
    "aten::matmul": _matmul,
    "aten::bmm": _bmm,
    "aten::t": _transpose,
    "aten::transpose": _transpose,
    "aten::permute": _transpose,
    "aten::batch_norm": _batch_norm,
    "aten::native_batch_norm": _pair(_batch_norm),
    "aten::_native_batch_norm_legit": _pair(_batch_norm),
    "aten::_native_batch_norm_legit_no_training": _pair(_batch_norm),
    "aten::layer_norm": _layer_norm,
    "aten::native_layer_norm": _pair(_layer_norm),
    "aten::rms_norm": _rms_norm,
    "aten::group_norm": _group_norm,
    "aten::native_group_norm": _pair(_group_norm),
    "aten::instance_norm": _instance_norm,
    "aten::embedding": _embedding,
    "aten::prelu": _prelu,
    "aten::_prelu_kernel": _prelu,
}
