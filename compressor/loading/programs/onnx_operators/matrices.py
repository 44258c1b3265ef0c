"""Products of matrices; with a constant weight they are linear layers."""

from __future__ import annotations

import torch

from compressor.loading.programs import layers
from compressor.loading.programs.builder import Builder
from compressor.loading.programs.onnx_node import OnnxNode
from compressor.loading.programs.onnx_operators._helpers import Handler
from compressor.loading.programs.values import Value


def transposed(build: Builder, weight: Value) -> Value:
    """A constant matrix (n_in, n_out) as (n_out, n_in); one object for one matrix, so that it stays shared."""
    if weight.matrix is None:
        weight.matrix = build.constant(weight.tensor.detach().t().contiguous(), weight.name)
    return weight.matrix


def _matmul(node: OnnxNode) -> Value:
    x, weight = node.value(0), node.value(1)
    if x.constant or not weight.constant or weight.ndim != 2 or not weight.dtype.is_floating_point:
        return node.build.call(torch.matmul, x, weight)
    bias = node.take_bias(int(weight.tensor.shape[1]), -1)
    return layers.linear(node.build, x, transposed(node.build, weight), bias)


def _gemm(node: OnnxNode) -> Value:
    build, x, weight, bias = node.build, node.value(0), node.value(1), node.optional(2)
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    if node.attribute("transA", 0):
        x = build.call(torch.t, x)
    flat_bias = bias is None or (bias.constant and bias.tensor.numel() == bias.tensor.shape[-1])
    if weight.constant and flat_bias and alpha == 1 and (bias is None or beta == 1):
        matrix = weight if node.attribute("transB", 0) else transposed(build, weight)
        n_out = int(matrix.tensor.shape[0])
        if bias is None:
            bias = node.take_bias(n_out, -1)
        elif bias.tensor.shape != (n_out,):
            bias = build.constant(bias.tensor.reshape(-1).expand(n_out).contiguous(), bias.name)
        return layers.linear(build, x, matrix, bias)
    if node.attribute("transB", 0):
        weight = build.call(torch.t, weight)
    product = build.call(torch.matmul, x, weight)
    if alpha != 1:
        product = build.call(torch.mul, product, alpha)
    if bias is None:
        return product
    return build.call(torch.add, product, build.call(torch.mul, bias, beta) if beta != 1 else bias)


def _einsum(node: OnnxNode) -> Value:
    values = [node.value(index) for index in range(len(node.inputs))]
    return node.build.call(torch.einsum, node.attribute("equation"), *values)


HANDLERS: dict[str, Handler] = {"MatMul": _matmul, "Gemm": _gemm, "Einsum": _einsum}
