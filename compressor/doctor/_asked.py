"""What a file asks of its runtime: settings that a deployment may obey without anybody having typed them."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

ORT_CONFIG = "ort_config"  # ONNX Runtime's key in a file's metadata
_PARALLEL = 1  # its ExecutionMode.ORT_PARALLEL
_HINTS = ("THROUGHPUT", "CUMULATIVE_THROUGHPUT")


def asked_of(path: Path) -> dict[str, bool]:
    """{"throughput": True} where the file asks for it; empty where it asks for nothing, or cannot be read for it."""
    try:
        reader = {".onnx": _onnx_asks, ".xml": _ir_asks}.get(path.suffix)
        throughput = reader is not None and reader(path)
    except (ValueError, OSError, ElementTree.ParseError):
        return {}
    return {"throughput": True} if throughput else {}


def _onnx_asks(path: Path) -> bool:
    import onnx

    properties = {entry.key: entry.value for entry in onnx.load(str(path), load_external_data=False).metadata_props}
    if ORT_CONFIG not in properties:
        return False
    options = json.loads(properties[ORT_CONFIG]).get("session_options", {})
    return isinstance(options, dict) and options.get("execution_mode") == _PARALLEL


def _ir_asks(path: Path) -> bool:
    """OpenVINO's format keeps a model's wishes as <rt_info><runtime_options><PERFORMANCE_HINT value="..."/>."""
    for _, element in ElementTree.iterparse(path):
        if element.tag == "PERFORMANCE_HINT":
            return element.get("value", "").upper() in _HINTS
        if element.tag == "layer":
            element.clear()
    return False
