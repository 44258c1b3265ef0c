"""ONNX files in ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from compressor.core.node_times import NodeTime
from compressor.targets._inputs import make_arrays, missing_package, resolve_shapes
from compressor.targets._onnxruntime import input_specs, open_session, run_smallest
from compressor.targets._onnxruntime_profile import profiled

if TYPE_CHECKING:
    import onnxruntime


@dataclass(frozen=True)
class OnnxRuntimeCpu:
    """ONNX Runtime's CPUExecutionProvider with all graph optimisations.

    Options:
        shapes: {input name: full shape}, for files whose axes other than the batch are dynamic.
        flush_denormals: take numbers too small for full precision as zero. It holds for the first session of a process.
        throughput: run branches of the graph side by side instead of one operator after the other.
    """

    name: ClassVar[str] = "onnxruntime:cpu"
    accepts: ClassVar[tuple[str, ...]] = (".onnx",)

    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    flush_denormals: bool = False
    throughput: bool = False

    def unavailable(self) -> str:
        """Why it cannot be used here; empty if it can."""
        return missing_package("onnxruntime", "onnxruntime")

    def prepare(self) -> None:
        """Loads the runtime."""
        run_smallest(["CPUExecutionProvider"])

    def runner(self, path: Path, batch_size: int, threads: int) -> Callable[[], None]:
        """Loads `path` and returns one inference on inputs made from its own description.

        Raises:
            ModelFileError: ONNX Runtime refuses the file.
            InvalidOption: the inputs' shapes cannot be settled for `batch_size`.
        """
        return self._open(path, batch_size, threads, None)[1]

    def nodes(
        self, path: Path, batch_size: int, threads: int, inferences: int
    ) -> tuple[tuple[float, ...], tuple[NodeTime, ...]]:
        """The runtime's own profile of `inferences`, set up as for `runner`: seconds of each whole, and the nodes.

        Raises:
            As `runner`.
        """
        return profiled(path, lambda prefix: self._open(path, batch_size, threads, prefix), inferences)

    def describe(self) -> dict[str, str]:
        """What really runs."""
        import onnxruntime

        return {
            "runtime": f"onnxruntime {onnxruntime.__version__}",
            "provider": "CPUExecutionProvider",
            "precision": "as in the file",
            "spinning": "stops when a run ends",
        }

    def _open(
        self, path: Path, batch_size: int, threads: int, profile: Path | None
    ) -> tuple[onnxruntime.InferenceSession, Callable[[], None]]:
        config = {"session.set_denormal_as_zero": "1"} if self.flush_denormals else {}
        session = open_session(path, ["CPUExecutionProvider"], threads, config, profile, parallel=self.throughput)
        specs = input_specs(session, self.name)
        feed = make_arrays(specs, resolve_shapes(specs, batch_size, self.shapes, self.name))

        def run() -> None:
            session.run(None, feed)

        return session, run


PLUGIN = OnnxRuntimeCpu
