"""What several families share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from compressor.loading.programs.onnx_node import OnnxNode

Handler = Callable[[OnnxNode], Any]


def unary(function: Callable[..., Any]) -> Handler:
    """An operator with one input and no attributes."""
    return lambda node: node.build.call(function, node.value(0))


def normal_axes(axes: Sequence[int], n: int) -> list[int]:
    """Axes counted from the front."""
    return [int(axis) % n if n else 0 for axis in axes]
