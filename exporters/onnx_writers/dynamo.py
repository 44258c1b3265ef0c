"""ONNX from the shared torch.export program."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch

from exporters.module_names import name_by_module
from exporters.onnx_writers.clean import name_axes, strip_metadata
from exporters.quiet import quietly
from exporters.source import Program, Source


def write_from_program(source: Source, program: Program, path: Path, opset: int | None) -> None:
    """Converts `program`, whose weights are shared with the module, and saves it; past 2 GB the weights go beside it.

    Raises:
        Exception: whatever torch.onnx raises where an operator has no translation, or the checker's complaint about
            what it wrote.
    """
    with quietly():
        converted = torch.onnx.export(
            program.exported,
            dynamo=True,
            input_names=list(source.input_names),
            output_names=list(source.output_names),
            opset_version=opset,
            verbose=False,
        )
    assert converted is not None  # dynamo=True always returns a program
    name_by_module(converted.model)
    strip_metadata(converted.model)
    name_axes(converted.model, source.inputs.interface.axis_names(len(source.input_names)))
    converted.save(path, external_data=False)  # torch still writes a second file where one cannot hold the weights
    onnx.checker.check_model(str(path))  # it has been seen to leave out constants that nodes read
