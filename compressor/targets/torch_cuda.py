"""torch.export programs in PyTorch on an NVIDIA GPU."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from compressor.core.node_times import NodeTime
from compressor.targets._inputs import missing_package
from compressor.targets._program import as_callable, eager_runner, load_program, make_arguments, run_smallest
from compressor.targets._program_profile import profiled


@dataclass(frozen=True)
class TorchCuda:
    """The exported program on the current CUDA device, operator by operator, inputs and outputs in device memory.

    Options:
        shapes: {input name: full shape}, for files whose axes other than the batch are dynamic.
    """

    name: ClassVar[str] = "torch:cuda"
    accepts: ClassVar[tuple[str, ...]] = (".pt2",)

    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def unavailable(self) -> str:
        """Why it cannot be used here; empty if it can."""
        missing = missing_package("torch", "torch")
        if missing:
            return missing
        import torch

        with warnings.catch_warnings():  # a driver that is too old is a warning there, and a reason here
            warnings.simplefilter("ignore")
            usable = torch.cuda.is_available()
        return "" if usable else "PyTorch sees no CUDA device."

    def prepare(self) -> None:
        """Imports what programs need, and sets up the device."""
        import torch

        run_smallest()
        torch.zeros(1, device="cuda")
        torch.cuda.synchronize()

    def runner(self, path: Path, batch_size: int, threads: int) -> Callable[[], None]:
        """Loads `path` onto the GPU and returns one inference that ends when the device has finished.

        Raises:
            ModelFileError: not a .pt2 file, or it holds parts that could run code.
            UnsupportedModel: an input is not a tensor.
            InvalidOption: the inputs' shapes cannot be settled for `batch_size`.
        """
        import torch

        torch.set_num_threads(threads)
        infer = eager_runner(*self._open(path, batch_size))

        def run() -> None:
            infer()
            torch.cuda.synchronize()

        return run

    def nodes(
        self, path: Path, batch_size: int, threads: int, inferences: int
    ) -> tuple[tuple[float, ...], tuple[NodeTime, ...]]:
        """The runtime's own profile of `inferences`, set up as for `runner`: seconds of each whole, and the nodes.

        Raises:
            As `runner`.
        """
        import torch

        torch.set_num_threads(threads)
        return profiled(*self._open(path, batch_size), inferences, device=True)

    def describe(self) -> dict[str, str]:
        """What really runs."""
        import torch

        return {
            "runtime": f"torch {torch.__version__}",
            "device": torch.cuda.get_device_name(),
            "precision": f"as in the file; TF32 in convolutions: {torch.backends.cudnn.allow_tf32}",
            "mode": "eager",
            "transfers": "not timed",
        }

    def _open(self, path: Path, batch_size: int) -> tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]:
        import torch
        from torch.export.passes import move_to_device_pass
        from torch.utils import _pytree as pytree

        program = load_program(path)
        arguments = make_arguments(program, batch_size, self.shapes, self.name)
        args, kwargs = pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to("cuda"), arguments)
        return as_callable(move_to_device_pass(program, "cuda")), args, kwargs


PLUGIN = TorchCuda
