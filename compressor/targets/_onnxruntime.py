"""What the ONNX Runtime targets share: session options, and the file's inputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.core.errors import UnsupportedModel
from compressor.targets._inputs import InputSpec, cannot_load

if TYPE_CHECKING:
    import onnxruntime

# The smallest model there is: y = Relu(x) on one float; opset 13. `onnx.load_from_string` reads it.
SMALLEST = (
    b'\x08\x07\x12\x00:3\n\x0c\n\x01x\x12\x01y"\x04Relu\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int16)": "int16",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}


def open_session(
    path: Path,
    providers: list[Any],
    threads: int,
    config: dict[str, str],
    profile: Path | None = None,
    *,
    parallel: bool = False,
) -> onnxruntime.InferenceSession:
    """A session with exactly `threads` intra-op threads.

    Two sessions live in one process while two files are compared, so a session's threads stop spinning as soon as its
    run ends: otherwise the idle session would take cores from the one that is being timed.

    Args:
        path: of the ONNX file.
        providers: in the order of preference.
        threads: intra-op.
        config: session configuration entries.
        profile: begins the name of the file that a profile of the session goes to; None: no profile.
        parallel: run branches side by side, each operator with the same threads: for throughput, not for latency.

    Raises:
        ModelFileError: ONNX Runtime refuses the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    if parallel:
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
        options.inter_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3  # errors; its warnings are about its own optimiser
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    for key, value in config.items():
        options.add_session_config_entry(key, value)
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # its exceptions have no common root of their own
        raise cannot_load(path, "ONNX Runtime", error) from error


def preload_libraries() -> None:
    """Finds the CUDA libraries that come with PyTorch (ONNX Runtime 1.21 and later)."""
    import onnxruntime

    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()


def run_smallest(providers: list[Any]) -> None:
    """Opens a session on the smallest model and runs it, which loads everything that a first file would load."""
    import numpy as np
    import onnxruntime

    np.random.default_rng(0)  # inputs are made with it
    onnxruntime.InferenceSession(SMALLEST, providers=providers).run(None, {"x": np.zeros(1, np.float32)})


def input_specs(session: onnxruntime.InferenceSession, owner: str) -> list[InputSpec]:
    """The session's inputs; a symbolic or missing size is dynamic.

    Raises:
        UnsupportedModel: an input is not a tensor of numbers.
    """
    import numpy as np

    specs = []
    for value in session.get_inputs():
        if value.type not in _DTYPES:
            raise UnsupportedModel(
                f"{owner}: input '{value.name}' is a {value.type}, which cannot be made up. Give it a number type."
            )
        shape = tuple(size if isinstance(size, int) else None for size in value.shape)
        specs.append(InputSpec(value.name, shape, np.dtype(_DTYPES[value.type])))
    return specs
