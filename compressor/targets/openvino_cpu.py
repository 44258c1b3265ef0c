"""ONNX files and OpenVINO IR in OpenVINO on the CPU."""

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
class OpenVinoCpu:
    """OpenVINO's CPU plug-in with the latency hint, computing in float32.

    Options:
        shapes: {input name: full shape}, for files whose axes other than the batch are dynamic.
        flush_denormals: take numbers too small for full precision as zero.
        throughput: several streams, among which the threads are shared out, instead of all threads for one inference.
    """

    name: ClassVar[str] = "openvino:cpu"
    accepts: ClassVar[tuple[str, ...]] = (".xml", ".onnx")

    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    flush_denormals: bool = False
    throughput: bool = False

    def unavailable(self) -> str:
        """Why it cannot be used here; empty if it can."""
        return missing_package("openvino", "openvino")

    def prepare(self) -> None:
        """Loads the runtime and its plug-in."""
        run_smallest("CPU")

    def runner(self, path: Path, batch_size: int, threads: int) -> Callable[[], None]:
        """Compiles `path` for the CPU and returns one inference on inputs made from its own description.

        Raises:
            ModelFileError: OpenVINO refuses the file.
            UnsupportedModel: it was compiled for another device, or an input is not a tensor of numbers.
            InvalidOption: the inputs' shapes cannot be settled for `batch_size`.
        """
        return make_runner(path, "CPU", self._properties(threads), batch_size, self.shapes, self.name)

    def nodes(
        self, path: Path, batch_size: int, threads: int, inferences: int
    ) -> tuple[tuple[float, ...], tuple[NodeTime, ...]]:
        """The runtime's own profile of `inferences`, set up as for `runner`: seconds of each whole, and the nodes.

        Raises:
            As `runner`.
        """
        properties = self._properties(threads)
        return profiled(path, "CPU", properties, batch_size, self.shapes, self.name, inferences)

    def describe(self) -> dict[str, str]:
        """What really runs."""
        openvino = runtimes.openvino()

        return {
            "runtime": f"openvino {openvino.__version__}",
            "device": "CPU",
            "precision": "f32",
            "hint": "throughput" if self.throughput else "latency",
            "pinning": "off",
            "shapes": "static",
        }

    def _properties(self, threads: int) -> dict[str, object]:
        return {
            "PERFORMANCE_HINT": "THROUGHPUT" if self.throughput else "LATENCY",
            "CPU_DENORMALS_OPTIMIZATION": self.flush_denormals,
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            # Two files are compiled in one process: pinned, they could sit on different cores and meet different load.
            "ENABLE_CPU_PINNING": False,
        }


PLUGIN = OpenVinoCpu
