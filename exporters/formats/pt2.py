"""A torch.export program: the model for PyTorch users who do not have its class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from exporters.format import LoadedFile, Written

if TYPE_CHECKING:
    from exporters.source import Source
    from exporters.types import ExportedFile


@dataclass(frozen=True)
class Pt2Format:
    """The shared torch.export program, saved as it is."""

    name: ClassVar[str] = "pt2"
    suffix: ClassVar[str] = ".pt2"
    summary: ClassVar[str] = "torch.export program: torch.export.load runs it without the model's class"
    made_from: ClassVar[str | None] = None
    requires: ClassVar[tuple[str, ...]] = ("torch",)

    def write(self, source: Source, path: Path, parent: ExportedFile | None) -> Written:
        """Writes `path`; see `Format.write`."""
        import torch

        from exporters.program import save_program

        program = source.program()
        save_program(program.exported, path, source.inputs, source.output_names)
        fixed = {"fixed_axes": program.fixed_axes} if program.fixed_axes else {}
        return Written(program.dynamic_batch, {"batch": program.batch, "torch": torch.__version__, **fixed})

    def load(self, path: Path) -> LoadedFile:
        """Loads the program; the module runs in this process on the CPU."""
        import torch

        from exporters.program import load_program
        from exporters.signature import ExampleInputs, flatten_outputs

        module, example, output_names = load_program(path)

        def run(arrays: Sequence[Any]) -> list[Any]:
            inputs = ExampleInputs(
                example.names, tuple(torch.from_numpy(array) for array in arrays), example.by_keyword
            )
            with torch.no_grad():
                return [tensor.numpy() for tensor in flatten_outputs(inputs.call(module))]

        return LoadedFile(example.names, output_names, run)


PLUGIN = Pt2Format
