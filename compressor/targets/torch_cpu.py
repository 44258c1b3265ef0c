"""torch.export programs in PyTorch on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from compressor.core.node_times import NodeTime
from compressor.targets._inputs import missing_package
from compressor.targets._program import as_callable, eager_runner, load_program, make_arguments, run_smallest
from compressor.targets._program_profile import profiled


@dataclass(frozen=True)
class TorchCpu:
    """The exported program, operator by operator, without autograd and without a compiler.

    Options:
        shapes: {input name: full shape}, for files whose axes other than the batch are dynamic.
        flush_denormals: take numbers too small for full precision as zero; set for the whole process.
    """

    name: ClassVar[str] = "torch:cpu"
    accepts: ClassVar[tuple[str, ...]] = (".pt2",)

    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    flush_denormals: bool = False

    def unavailable(self) -> str:
        """Why it cannot be used here; empty if it can."""
        return missing_package("torch", "torch")

    def prepare(self) -> None:
        """Imports what programs need."""
        run_smallest()

    def runner(self, path: Path, batch_size: int, threads: int) -> Callable[[], None]:
        """Loads `path` and returns one inference on inputs made from its own description.

        `threads` is set for the whole process, as PyTorch has one pool.

        Raises:
            ModelFileError: not a .pt2 file, or it holds parts that could run code.
            UnsupportedModel: an input is not a tensor.
            InvalidOption: the inputs' shapes cannot be settled for `batch_size`.
        """
        import torch

        torch.set_num_threads(threads)
        return eager_runner(*self._open(path, batch_size))

    def nodes(
        self, path: Path, batch_size: int, threads: int, inferences: int
    ) -> tuple[tuple[float, ...], tuple[NodeTime, ...]]:
        """The runtime's own profile of `inferences`, set up as for `runner`: seconds of each whole, and the nodes.

        Raises:
            As `runner`.
        """
        import torch

        torch.set_num_threads(threads)
        return profiled(*self._open(path, batch_size), inferences, device=False)

    def describe(self) -> dict[str, str]:
        """What really runs."""
        import torch

        return {
            "runtime": f"torch {torch.__version__}",
            "device": "CPU",
            "precision": "as in the file",
            "mode": "eager",
        }

    def _open(self, path: Path, batch_size: int) -> tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]:
        import torch

        if self.flush_denormals:  # before the pool starts: its threads take it over from this one
            torch.set_flush_denormal(True)
        program = load_program(path)
        args, kwargs = make_arguments(program, batch_size, self.shapes, self.name)
        return as_callable(program), args, kwargs


PLUGIN = TorchCpu
