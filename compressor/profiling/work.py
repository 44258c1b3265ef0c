"""How much one node of a runtime computes and moves, from the shapes that the runtime tells."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod

from compressor.core.node_times import NodeTime

_BYTES = {"float16": 2, "bfloat16": 2, "f16": 2, "bf16": 2, "double": 8, "float64": 8, "f64": 8, "int64": 8, "i64": 8}
_FLOAT32_BYTES = 4
_CONVOLUTION = re.compile(r"conv", re.IGNORECASE)
_PRODUCT = re.compile(
    r"^(Gemm|FusedGemm|MatMul|FusedMatMul|FullyConnected|aten::(linear|mm|bmm|matmul|addmm|baddbmm))$"
)
_ATTENTION = re.compile(r"scaled_dot_product|ScaledDotProduct|^Subgraph$")
_VIEWS = re.compile(
    r"^(Reshape|Squeeze|Unsqueeze|Flatten|Identity|Shape|"
    r"aten::(view|reshape|flatten|transpose|permute|squeeze|unsqueeze|select|slice|expand|unflatten|dropout|sym_size|t))$"
)


@dataclass(frozen=True)
class Work:
    """Of one inference."""

    macs: int  # multiplications with an addition; 0 for what has none
    n_bytes: int  # weights, inputs and outputs, each once


def work_of(node: NodeTime) -> Work:
    """The work of one node; a view moves nothing."""
    if _VIEWS.match(node.operator):
        return Work(0, 0)
    size = _BYTES.get(node.precision, _FLOAT32_BYTES)
    n_numbers = sum(prod(shape) for shape in (*node.inputs, *node.outputs))
    return Work(_macs(node), size * n_numbers)


def is_convolution(node: NodeTime) -> bool:
    """Whether it is a convolution (not transposed), whatever is fused into it."""
    plain = "transpose" not in node.operator.lower() and "deconv" not in node.operator.lower()
    return bool(_CONVOLUTION.search(node.operator)) and plain and len(node.inputs) > 1 and bool(node.outputs)


def is_product(node: NodeTime) -> bool:
    """Whether it is a product of matrices, whatever is fused into it."""
    return bool(_PRODUCT.match(node.operator)) and bool(node.inputs) and bool(node.outputs)


def _macs(node: NodeTime) -> int:
    if is_convolution(node):
        data, weight = node.inputs[:2]
        # (outputs, inputs per group, *kernel); OpenVINO has the groups as an axis of their own before these
        return prod(node.outputs[0]) * prod(weight[len(weight) - len(data) + 1 :])
    if is_product(node):
        first = node.inputs[1] if node.operator in ("aten::addmm", "aten::baddbmm") else node.inputs[0]
        return prod(node.outputs[0]) * (first[-1] if first else 0)
    if _ATTENTION.search(node.operator) and len(node.inputs) >= 3 and node.outputs:
        products = sum("matmul" in source.lower() for source in node.sources)
        query, key, value = node.inputs[:3]
        if len(query) == len(key) == len(value) == 4 and (products >= 2 or node.operator != "Subgraph"):
            length = value[-2]
            return prod(query) * length + prod(query[:-1]) * length * value[-1]
    return 0
