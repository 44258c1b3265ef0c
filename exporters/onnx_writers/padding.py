"""Keeps zeros that are padded before a max pooling apart from the pooling's own padding.

A max pooling pads with minus infinity. Where a window holds nothing above zero, a zero that was padded before it wins,
but ONNX Runtime (its pad fusion, pull request 18136) and onnxsim (issue 290) move such zeros into the pooling all the
same, and the outputs change. Neither touches a padding by another number, so the smallest normal one is padded.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

ALMOST_ZERO = 2.0**-126  # the smallest normal float32; a denormal number could be flushed to zero again


def keep_zeros_before_max_pooling(path: Path) -> int:
    """Changes the ONNX file where it has to be; returns at how many places."""
    import numpy as np
    import onnx
    from onnx import TensorProto, numpy_helper

    model = onnx.load(str(path), load_external_data=False)
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {
        node.output[0]: attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    pooled = {node.input[0] for node in graph.node if node.op_type == "MaxPool"}
    changed = 0
    for node in graph.node:
        if node.op_type != "Pad" or node.output[0] not in pooled or _mode(node) != "constant":
            continue
        given = node.input[2] if len(node.input) > 2 else ""
        value = constants.get(given)
        if given and (value is None or value.data_type != TensorProto.FLOAT or numpy_helper.to_array(value).item()):
            continue
        name = f"{node.output[0]}_almost_zero"
        graph.initializer.append(numpy_helper.from_array(np.array(ALMOST_ZERO, np.float32), name))
        node.input.extend([""] * (3 - len(node.input)))
        node.input[2] = name
        changed += 1
    if changed:
        path.write_bytes(model.SerializeToString())
    return changed


def _mode(node: onnx.NodeProto) -> str:
    found = next((attribute.s for attribute in node.attribute if attribute.name == "mode"), b"constant")
    return found.decode()
