"""ONNX files in ONNX Runtime on an NVIDIA GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from compressor.core.errors import UnsupportedModel
from compressor.core.node_times import NodeTime
from compressor.targets._inputs import make_arrays, missing_package, resolve_shapes
from compressor.targets._onnxruntime import input_specs, open_session, preload_libraries, run_smallest
from compressor.targets._onnxruntime_profile import profiled

if TYPE_CHECKING:
    import onnxruntime

_PROVIDER = "CUDAExecutionProvider"


@dataclass(frozen=True)
class OnnxRuntimeCuda:
    """ONNX Runtime's CUDAExecutionProvider on device 0; no node may fall back to the CPU.

    Inputs and outputs stay in device memory: what is timed is the network, not the bus.

    Options:
        shapes: {input name: full shape}, for files whose axes other than the batch are dynamic.
    """

    name: ClassVar[str] = "onnxruntime:cuda"
    accepts: ClassVar[tuple[str, ...]] = (".onnx",)

    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def unavailable(self) -> str:
        """Why it cannot be used here; empty if it can."""
        missing = missing_package("onnxruntime", "onnxruntime-gpu")
        if missing:
            return missing
        import onnxruntime

        if _PROVIDER not in onnxruntime.get_available_providers():
            return "This onnxruntime build has no CUDA provider. Run: pip install onnxruntime-gpu"
        import torch

        return "" if torch.cuda.is_available() else "PyTorch sees no CUDA device."

    def prepare(self) -> None:
        """Loads the runtime and sets up the device."""
        preload_libraries()
        run_smallest([_PROVIDER])

    def runner(self, path: Path, batch_size: int, threads: int) -> Callable[[], None]:
        """Loads `path` onto the GPU and returns one inference that ends when its outputs are ready there.

        Raises:
            ModelFileError: ONNX Runtime refuses the file, or some nodes could only run on the CPU.
            UnsupportedModel: the session came up on another provider.
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
        import torch

        return {
            "runtime": f"onnxruntime {onnxruntime.__version__}",
            "provider": _PROVIDER,
            "device": torch.cuda.get_device_name(0),
            "precision": "as in the file; convolutions may use TF32",
            "transfers": "not timed",
        }

    def _open(
        self, path: Path, batch_size: int, threads: int, profile: Path | None
    ) -> tuple[onnxruntime.InferenceSession, Callable[[], None]]:
        import onnxruntime

        preload_libraries()
        session = open_session(path, [_PROVIDER], threads, {"session.disable_cpu_ep_fallback": "1"}, profile)
        providers = session.get_providers()
        if providers[:1] != [_PROVIDER]:
            raise UnsupportedModel(
                f"{self.name}: ONNX Runtime chose {', '.join(providers)} for {path}, "
                "whose time would be no answer. Check that the CUDA and cuDNN libraries match this onnxruntime-gpu."
            )
        specs = input_specs(session, self.name)
        arrays = make_arrays(specs, resolve_shapes(specs, batch_size, self.shapes, self.name))
        binding = session.io_binding()
        for name, array in arrays.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, "cuda", 0))
        for output in session.get_outputs():
            binding.bind_output(output.name, "cuda", 0)

        def run() -> None:
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()

        return session, run


PLUGIN = OnnxRuntimeCuda
