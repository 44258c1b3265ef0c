from __future__ import annotations

import pytest

from compressor.core.node_times import NodeTime
from compressor.profiling.work import Work, work_of


def node(operator: str, inputs: tuple[tuple[int, ...], ...], output: tuple[int, ...], **facts: object) -> NodeTime:
    return NodeTime("n", operator, (1e-6,), inputs, (output,), **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("operator", "inputs", "output", "macs"),
    [
        ("Conv", ((1, 3, 8, 8), (16, 3, 3, 3), (16,)), (1, 16, 8, 8), 16 * 64 * 27),
        ("FusedConv", ((2, 8, 4, 4), (8, 1, 3, 3)), (2, 8, 4, 4), 2 * 8 * 16 * 9),  # depthwise
        ("Convolution", ((2, 8, 4, 4), (8, 1, 1, 3, 3)), (2, 8, 4, 4), 2 * 8 * 16 * 9),  # OpenVINO's groups
        ("aten::conv1d", ((1, 4, 10), (6, 4, 3), (6,)), (1, 6, 8), 6 * 8 * 12),
        ("Gemm", ((5, 7), (11, 7), (11,)), (5, 11), 5 * 7 * 11),
        ("MatMul", ((1, 4, 9, 7), (1, 4, 7, 9)), (1, 4, 9, 9), 4 * 9 * 9 * 7),
        ("aten::addmm", ((11,), (5, 7), (7, 11)), (5, 11), 5 * 7 * 11),
        (
            "aten::scaled_dot_product_attention",
            ((1, 2, 5, 8), (1, 2, 5, 8), (1, 2, 5, 8)),
            (1, 2, 5, 8),
            2 * 2 * 25 * 8,
        ),
        ("Relu", ((1, 3, 8, 8),), (1, 3, 8, 8), 0),
    ],
)
def test_macs_by_hand(operator: str, inputs: tuple[tuple[int, ...], ...], output: tuple[int, ...], macs: int) -> None:
    assert work_of(node(operator, inputs, output)).macs == macs


def test_bytes_are_all_that_is_read_and_written() -> None:
    relu = node("Relu", ((2, 8),), (2, 8))
    assert work_of(relu) == Work(0, 4 * 32)
    assert work_of(node("Relu", ((2, 8),), (2, 8), precision="float16")).n_bytes == 2 * 32
    assert work_of(node("aten::view", ((2, 8),), (16,))) == Work(0, 0)


def test_openvinos_fused_attention_counts_where_products_are_in_it() -> None:
    shapes = ((1, 2, 5, 8), (1, 2, 8, 5), (1, 2, 5, 8))
    fused = node("Subgraph", shapes, (1, 2, 5, 8), sources=("/a/MatMul", "/a/Softmax", "/a/MatMul_1"))
    assert work_of(fused).macs == 2 * 2 * 25 * 8
    assert work_of(node("Subgraph", shapes, (1, 2, 5, 8), sources=("/a/Add",))).macs == 0
