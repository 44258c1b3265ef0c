"""Branches whose way is known, since it depends on sizes alone."""

from __future__ import annotations

from typing import Any

from compressor.core.errors import UnsupportedModel
from compressor.loading.programs.onnx_node import OnnxNode
from compressor.loading.programs.onnx_operators._helpers import Handler
from compressor.loading.programs.values import Dim


def _if(node: OnnxNode) -> list[Any]:
    condition = node.inputs[0]
    if condition is None or not _known(node):
        raise UnsupportedModel("it goes one way or the other depending on what the input holds")
    (taken,) = node.constants(0)
    return node.run_graph(node.attribute("then_branch" if taken else "else_branch"))


def _known(node: OnnxNode) -> bool:
    try:
        return not any(isinstance(number, Dim) for number in node.sizes(0))
    except UnsupportedModel:
        return False


HANDLERS: dict[str, Handler] = {"If": _if}
