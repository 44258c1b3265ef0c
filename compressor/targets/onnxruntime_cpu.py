"""ONNX files in ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from compressor.targets._inputs import make_arrays, missing_package, resolve_shapes
from compressor.targets._onnxruntime import input_specs, open_session, run_smallest


@dataclass(frozen=True)
class OnnxRuntimeCpu:
    """ONNX Runtime's CPUExecutionProvider with all graph optimisations.

    Options:
        shapes: {input name: full shape}, for files whose axes other than the batch are dynamic.
    """

    name: ClassVar[str] = "onnxruntime:cpu"
    accepts: ClassVar[tuple[str, ...]] = (".onnx",)

    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)

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
        session = open_session(path, ["CPUExecutionProvider"], threads, {})
        specs = input_specs(session, self.name)
        feed = make_arrays(specs, resolve_shapes(specs, batch_size, self.shapes, self.name))

        def run() -> None:
            session.run(None, feed)

        return run

    def describe(self) -> dict[str, str]:
        """What really runs."""
        import onnxruntime

        return {
            "runtime": f"onnxruntime {onnxruntime.__version__}",
            "provider": "CPUExecutionProvider",
            "precision": "as in the file",
            "spinning": "stops when a run ends",
        }


PLUGIN = OnnxRuntimeCpu
