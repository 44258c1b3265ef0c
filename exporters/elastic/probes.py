"""The files that an elastic file is compared with, kept small: their nodes and sizes, without their weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

MOST_ENTRIES = 4096  # of a constant that is kept: reshapes and slices have few


def strip_weights(source: Path, destination: Path) -> Path:
    """Writes the file without the values of its weights; integer constants stay."""
    import onnx

    model = onnx.load(str(source))
    tensors = list(model.graph.initializer)
    for node in model.graph.node:
        tensors += [attribute.t for attribute in node.attribute if attribute.type == onnx.AttributeProto.TENSOR]
    for tensor in tensors:
        if not _tells(tensor):
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
    del model.graph.value_info[:]
    destination.write_bytes(model.SerializeToString())
    return destination


def fingerprint(path: Path) -> str:
    """Equal for files with the same nodes and sizes, whatever their weights are."""
    import onnx

    model = onnx.load(str(path))
    told = hashlib.sha256()
    for tensor in model.graph.initializer:
        told.update(f"{tensor.name} {list(tensor.dims)} {tensor.data_type};".encode())
        if _tells(tensor):
            told.update(onnx.numpy_helper.to_array(tensor).tobytes())
    del model.graph.initializer[:]
    del model.graph.value_info[:]
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR and not _tells(attribute.t):
                attribute.t.ClearField("raw_data")
                attribute.t.ClearField("float_data")
    del model.metadata_props[:]
    told.update(model.SerializeToString(deterministic=True))
    return told.hexdigest()


def _tells(tensor: object) -> bool:
    """Whether its values may be sizes."""
    import math

    import onnx

    integers = tensor.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.INT32)  # type: ignore[attr-defined]
    return integers and math.prod(tensor.dims) <= MOST_ENTRIES  # type: ignore[attr-defined]
