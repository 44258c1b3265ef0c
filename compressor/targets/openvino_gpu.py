"""ONNX files and OpenVINO IR in OpenVINO on an Intel GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from compressor.core.node_times import NodeTime
from compressor.targets._inputs import missing_package
from compressor.targets._openvino import make_runner, profiled, run_smallest
from exporters import runtimes


@dataclass(frozen=True)
class OpenVinoGpu:
    """OpenVINO's GPU plug-in with the latency hint, computing in float32 like the other targets.

    `threads` has no meaning on this device and is only recorded.

    Options:
        shapes: {input name: full shape}, for files whose axes other than the batch are dynamic.
    """

    name: ClassVar[str] = "openvino:gpu"
    accepts: ClassVar[tuple[str, ...]] = (".xml", ".onnx")

    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def unavailable(self) -> str:
        """Why it cannot be used here; empty if it can."""
        missing = missing_package("openvino", "openvino")
        if missing:
            return missing
        try:
            devices = runtimes.openvino_core().available_devices
        except RuntimeError as error:
            return f"OpenVINO does not start ({str(error).splitlines()[0]})."
        if not any(name.partition(".")[0] == "GPU" for name in devices):
            return f"OpenVINO sees no GPU device (it sees: {', '.join(devices)}). Install the Intel GPU driver."
        return ""

    def prepare(self) -> None:
        """Loads the runtime and its plug-in."""
        run_smallest("GPU")

    def runner(self, path: Path, batch_size: int, threads: int) -> Callable[[], None]:
        """Compiles `path` for the GPU and returns one inference that ends when its outputs are ready.

        Raises:
            ModelFileError: OpenVINO refuses the file.
            UnsupportedModel: it was compiled for another device, or an input is not a tensor of numbers.
            InvalidOption: the inputs' shapes cannot be settled for `batch_size`.
        """
        return make_runner(path, "GPU", self._properties(), batch_size, self.shapes, self.name)

    def nodes(
        self, path: Path, batch_size: int, threads: int, inferences: int
    ) -> tuple[tuple[float, ...], tuple[NodeTime, ...]]:
        """The runtime's own profile of `inferences`, set up as for `runner`: seconds of each whole, and the nodes.

        Raises:
            As `runner`.
        """
        properties = self._properties()
        return profiled(path, "GPU", properties, batch_size, self.shapes, self.name, inferences)

    def describe(self) -> dict[str, str]:
        """What really runs."""
        openvino = runtimes.openvino()

        return {
            "runtime": f"openvino {openvino.__version__}",
            "device": runtimes.openvino_core().get_property("GPU", "FULL_DEVICE_NAME"),
            "precision": "f32",
            "hint": "latency",
            "shapes": "static",
        }

    def _properties(self) -> dict[str, object]:
        return {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}


PLUGIN = OpenVinoGpu
