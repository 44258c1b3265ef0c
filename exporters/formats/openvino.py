"""OpenVINO IR: Intel's format, an XML graph with its weights beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from exporters import runtimes
from exporters.errors import UnsupportedOperator
from exporters.format import LoadedFile, Written

if TYPE_CHECKING:
    from exporters.source import Source
    from exporters.types import ExportedFile


@dataclass(frozen=True)
class OpenVinoFormat:
    """Converted from the ONNX file: the fastest way, and the one that keeps the names. Weights stay float32."""

    name: ClassVar[str] = "openvino"
    suffix: ClassVar[str] = ".xml"
    summary: ClassVar[str] = "OpenVINO IR (.xml and .bin), run by OpenVINO on Intel hardware"
    made_from: ClassVar[str | None] = "onnx"
    requires: ClassVar[tuple[str, ...]] = ("openvino",)

    def write(self, source: Source, path: Path, parent: ExportedFile | None) -> Written:
        """Writes `path` and the weights beside it; see `Format.write`."""
        assert parent is not None  # made_from
        ov = runtimes.openvino()
        try:
            model = ov.convert_model(str(parent.path))
        except Exception as error:  # OpenVINO's conversion errors share no public class
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise UnsupportedOperator(
                "openvino",
                f"cannot convert {parent.path.name} ({lines[-1] if lines else type(error).__name__})",
                "Choose another format.",
            ) from error
        model.set_rt_info("", ["conversion_parameters", "input_model"])  # else the file names a folder of this machine
        ov.save_model(model, str(path), compress_to_fp16=False)
        details = {"batch": parent.details["batch"], "openvino": ov.__version__, "weights": "float32"}
        if "fixed_axes" in parent.details:
            details["fixed_axes"] = parent.details["fixed_axes"]
        return Written(parent.dynamic_batch, details)

    def load(self, path: Path) -> LoadedFile:
        """Compiles the file for the CPU; float32 is asked for, since some CPUs would choose bfloat16."""
        core = runtimes.openvino_core()
        model = core.read_model(str(path))
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

        def run(arrays: Sequence[Any]) -> list[Any]:
            results = compiled(list(arrays))
            return [results[port] for port in compiled.outputs]

        # The file's names: a compiled output can have gained the name of the tensor that it is computed from in place.
        return LoadedFile(_names(model.inputs), _names(model.outputs), run)


def _names(ports: Sequence[Any]) -> tuple[str, ...]:
    return tuple(port.any_name for port in ports)


PLUGIN = OpenVinoFormat
