"""model.pt2 as a module again, without the class that it was made from."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn
from torch.export import ExportedProgram

from exporters.quiet import quietly
from exporters.signature import ExampleInputs

_NAMES = "names.json"  # travels inside the .pt2 archive


def save_program(program: ExportedProgram, path: Path, inputs: ExampleInputs, output_names: tuple[str, ...]) -> None:
    """Writes `program` with the names of its inputs and outputs."""
    names = {"inputs": inputs.names, "outputs": output_names}
    torch.export.save(program, path, extra_files={_NAMES: json.dumps(names)})


def load_program(path: Path) -> tuple[nn.Module, ExampleInputs, tuple[str, ...]]:
    """The module in the file, inputs that it accepts, and its output names; for files that `save_program` wrote.

    `verify` takes the module as its reference, so a run folder can be checked where its model's class is not at hand.
    """
    extra = {_NAMES: ""}
    with quietly():
        program = torch.export.load(path, extra_files=extra)
    names = json.loads(extra[_NAMES])
    args, kwargs = program.example_inputs
    tensors = tuple(kwargs.values()) if kwargs else tuple(args)
    return program.module(), ExampleInputs(tuple(names["inputs"]), tensors, bool(kwargs)), tuple(names["outputs"])
