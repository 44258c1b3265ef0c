"""A runtime's node as a layer that can be built again, alone."""

from __future__ import annotations

from compressor.core.node_times import NodeTime
from compressor.profiling.probes import Layer
from compressor.profiling.work import is_convolution, is_product

_LARGEST_BYTES = 256 << 20  # of a weight


def layer_of(node: NodeTime) -> Layer | None:
    """The convolution or the product with a weight that a node computes; None for all else.

    Strides follow from the sizes; dilation is taken as 1, where a layer of the same cost has another window.
    """
    if len(node.inputs) < 2 or not node.outputs:
        return None
    data, weight, result = node.inputs[0], node.inputs[1], node.outputs[0]
    layer = None
    if is_convolution(node) and len(data) == len(result) and len(data) in (3, 4, 5):
        layer = _convolution(data, weight, result)
    elif is_product(node) and len(weight) == 2 and len(data) >= 2 and data[-1] in weight:
        layer = Layer(data[-1], result[-1], sizes=data[1:-1], batch=data[0])
    if layer is None or 4 * layer.inputs * layer.outputs // layer.groups > _LARGEST_BYTES:
        return None
    return layer


def _convolution(data: tuple[int, ...], weight: tuple[int, ...], result: tuple[int, ...]) -> Layer | None:
    n_axes = len(data) - 2
    kernel, per_group = weight[-n_axes:], weight[-n_axes - 1]
    if not per_group or data[1] % per_group:
        return None
    sizes, results = data[2:], result[2:]
    if min(*sizes, *results) < 1:
        return None
    stride = tuple(max(1, round(a / b)) for a, b in zip(sizes, results, strict=True))
    total = [max(0, (b - 1) * s + k - a) for a, b, s, k in zip(sizes, results, stride, kernel, strict=True)]
    pads = (*(t // 2 for t in total), *(t - t // 2 for t in total))
    return Layer(data[1], result[1], data[1] // per_group, kernel, stride, pads, sizes, data[0])
