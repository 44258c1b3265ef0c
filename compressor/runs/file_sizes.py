"""How many bytes an exported file has, with the files that belong to it."""

from __future__ import annotations

from pathlib import Path

from google.protobuf.message import DecodeError


def bytes_of(path: Path) -> int:
    """With the weights beside it: the .bin of an OpenVINO .xml, and an ONNX file's external data."""
    beside = {".xml": _openvino, ".onnx": _onnx}.get(path.suffix, _none)
    return sum(file.stat().st_size for file in (path, *beside(path)) if file.is_file())


def _openvino(path: Path) -> list[Path]:
    return [path.with_suffix(".bin")]


def _onnx(path: Path) -> list[Path]:
    import onnx
    from onnx import external_data_helper

    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError:  # its runtime will say so
        return []
    places = {
        external_data_helper.ExternalDataInfo(tensor).location
        for tensor in model.graph.initializer
        if external_data_helper.uses_external_data(tensor)
    }
    return [path.parent / place for place in sorted(places)]


def _none(path: Path) -> list[Path]:
    return []
