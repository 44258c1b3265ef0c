"""Poolings that ONNX Runtime or OpenVINO get wrong as torch writes them, written so that both get them right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

ALMOST_ZERO = 2.0**-126  # the smallest normal float32; a denormal number could be flushed to zero again


def mend_poolings(path: Path) -> int:
    """Changes the ONNX file where it has to be; returns at how many places."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    changed = sum(_keep_zeros(model.graph)) + sum(_pool_all(model.graph))
    if changed:
        path.write_bytes(model.SerializeToString())
    return changed


def _keep_zeros(graph: onnx.GraphProto) -> Iterator[bool]:
    """Zeros padded before a pooling, kept apart from the pooling's own padding.

    A max pooling pads with minus infinity. Where a window holds nothing above zero, a zero that was padded before it
    wins, but ONNX Runtime (its pad fusion, pull request 18136) and onnxsim (issue 290) move such zeros into the pooling
    all the same, and the outputs change. Into an average pooling they move even more zeros than its window is wide, and
    ONNX Runtime then refuses the file. Neither touches another number, so the smallest normal one is padded.
    """
    import numpy as np
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {node.output[0]: _attributes(node).get("value") for node in graph.node if node.op_type == "Constant"}

    def number(name: str) -> Any:
        tensor = constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    pools = {node.input[0]: node for node in graph.node if node.op_type in ("MaxPool", "AveragePool")}
    for node in graph.node:
        pool = pools.get(node.output[0])
        if node.op_type != "Pad" or pool is None or _attributes(node).get("mode", b"constant") != b"constant":
            continue
        pads, given = number(node.input[1]), node.input[2] if len(node.input) > 2 else ""
        value = number(given) if given else np.zeros((), np.float32)
        narrow = pads is None or pads.max() >= min(_attributes(pool)["kernel_shape"])
        if value is None or value.dtype != np.float32 or value.any() or not (pool.op_type == "MaxPool" or narrow):
            continue
        name = f"{node.output[0]}_almost_zero"
        graph.initializer.append(numpy_helper.from_array(np.array(ALMOST_ZERO, np.float32), name))
        node.input.extend([""] * (3 - len(node.input)))
        node.input[2] = name
        yield True


def _pool_all(graph: onnx.GraphProto) -> Iterator[bool]:
    """Average poolings whose window is larger than what they pool (Hugging Face's EfficientNet): the average of all.

    OpenVINO cannot convert them.
    """
    shapes = {value.name: value.type.tensor_type.shape.dim for value in (*graph.input, *graph.value_info)}
    for node in graph.node:
        if node.op_type != "AveragePool":
            continue
        given = _attributes(node)
        window, sizes = given["kernel_shape"], [axis.dim_value for axis in shapes.get(node.input[0], ())[2:]]
        # A size that is not known is 0.
        larger = len(sizes) == len(window) and all(0 < size <= k for size, k in zip(sizes, window, strict=True))
        if larger and list(window) != sizes and not any(given.get("pads", ())):
            node.op_type = "GlobalAveragePool"
            del node.attribute[:]
            yield True


def _attributes(node: onnx.NodeProto) -> Mapping[str, Any]:
    import onnx

    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
