"""What the PyTorch targets share: opening a torch.export program without running code from it, and its inputs.

A file that is timed may come from anywhere: `exporters.safe_program` refuses what could carry code, and the guards,
which are stored as source text, are left out (they check arguments, which are made here).
"""

from __future__ import annotations

import inspect
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.core.errors import ModelFileError, UnsupportedModel
from compressor.targets._inputs import InputSpec, make_arrays, resolve_shapes
from exporters.errors import UnreadableProgram
from exporters.safe_program import open_program

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram


def run_smallest() -> None:
    """Saves, opens and runs the smallest program, which imports everything that a first file would import."""
    import torch

    file = io.BytesIO()
    with warnings.catch_warnings():  # torch.export's own notices
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(torch.nn.ReLU(), (torch.zeros(1),)), file)
        file.seek(0)
        as_callable(torch.export.load(file))(torch.zeros(1))


def load_program(path: Path) -> ExportedProgram:
    """The exported program in a .pt2 file.

    Raises:
        ModelFileError: not a .pt2 file, or it holds parts that could run code.
    """
    try:
        return open_program(path)
    except UnreadableProgram as error:
        raise ModelFileError(str(error)) from error


def as_callable(program: ExportedProgram) -> Callable[..., Any]:
    """The program's module without the guards on its arguments."""
    if "check_guards" in inspect.signature(program.module).parameters:  # since torch 2.8
        return program.module(check_guards=False)
    return program.module()


def make_arguments(
    program: ExportedProgram, batch_size: int, shapes: Mapping[str, Sequence[int]], owner: str
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Positional and keyword arguments for the program's module, made from the program's own description.

    Raises:
        UnsupportedModel: an input is not a tensor.
        InvalidOption: the inputs' shapes cannot be settled for `batch_size`.
    """
    import torch
    from torch.utils import _pytree as pytree

    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    specs = []
    for name in program.graph_signature.user_inputs:
        node = nodes.get(str(name))
        value = node.meta.get("val") if node is not None else None
        if not isinstance(value, torch.Tensor):
            raise UnsupportedModel(
                f"{owner}: input '{name}' is not a tensor. Export the model with tensors as its only inputs."
            )
        shape = tuple(size if isinstance(size, int) else None for size in value.shape)
        specs.append(InputSpec(str(name), shape, _numpy_dtype(value.dtype, str(name), owner)))
    arrays = make_arrays(specs, resolve_shapes(specs, batch_size, shapes, owner))
    flat = [torch.from_numpy(arrays[spec.name]) for spec in specs]
    args, kwargs = pytree.tree_unflatten(flat, program.call_spec.in_spec)
    return args, kwargs


def eager_runner(module: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Callable[[], None]:
    """One call of `module` without autograd."""
    import torch

    def run() -> None:
        with torch.inference_mode():
            module(*args, **kwargs)

    return run


def _numpy_dtype(dtype: torch.dtype, name: str, owner: str) -> np.dtype:
    try:
        return np.dtype(str(dtype).removeprefix("torch."))
    except TypeError as error:
        raise UnsupportedModel(
            f"{owner}: input '{name}' is {dtype}, which cannot be made up. Export it with float32 inputs."
        ) from error
