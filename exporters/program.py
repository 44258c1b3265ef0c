"""model.pt2 as a module again, without the class that it was made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import nn
from torch.export import ExportedProgram

from exporters.quiet import quietly
from exporters.safe_program import open_program
from exporters.signature import ExampleInputs

_NAMES = "names.json"  # travels inside the .pt2 archive


def save_program(program: ExportedProgram, path: Path, inputs: ExampleInputs, output_names: tuple[str, ...]) -> None:
    """Writes `program` with the names of its inputs and outputs.

    Raises:
        OSError: the disk is full, or fails otherwise.
    """
    named = inputs.interface.axis_names(len(inputs.names))
    axes = [{str(axis): name for axis, name in names.items()} for names in named]
    metadata = dict(inputs.interface.metadata)
    names = {"inputs": inputs.names, "outputs": output_names, "dynamic_axes": axes, "metadata": metadata}
    with path.open("wb") as file, quietly():
        patient = _PatientFile(file)
        torch.export.save(program, cast(IO[bytes], patient), extra_files={_NAMES: json.dumps(names)})
    if patient.error is not None:
        raise patient.error


class _PatientFile:
    """Keeps a write error for later: raised while torch writes its archive, it would end the whole process."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.error = file, cast("OSError | None", None)

    def write(self, data: bytes) -> int:
        try:
            if self.error is None:
                self.file.write(data)
                self.file.flush()
        except OSError as error:
            self.error = error
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def load_program(path: Path) -> tuple[nn.Module, ExampleInputs, tuple[str, ...]]:
    """The module in the file, inputs that it accepts, and its output names; for files that `save_program` wrote.

    `verify` takes the module as its reference, so a run folder can be checked where its model's class is not at hand.

    Raises:
        UnreadableProgram: not a program, damaged, or it holds parts that could run code.
    """
    extra = {_NAMES: ""}
    program = open_program(path, extra)
    names = json.loads(extra[_NAMES])
    args, kwargs = program.example_inputs
    tensors = tuple(kwargs.values()) if kwargs else tuple(args)
    return program.module(), ExampleInputs(tuple(names["inputs"]), tensors, bool(kwargs)), tuple(names["outputs"])
