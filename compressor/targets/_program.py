"""What the PyTorch targets share: opening a torch.export program without running code from it, and its inputs.

`torch.export` unpickles some members of the archive, evaluates size expressions and compiles guards that are stored as
source text. A file that is timed may come from anywhere, so members and expressions that could carry code are refused
before it is opened, and the guards are left out (they check arguments, which are made here).
"""

from __future__ import annotations

import inspect
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.core.errors import ModelFileError, UnsupportedModel
from compressor.targets._inputs import InputSpec, cannot_load, make_arrays, resolve_shapes

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

_CODE_MEMBER = re.compile(r"(^|/)(custom_obj|opaque_obj)_|/aotinductor/")
# Arithmetic over symbols, and calls of sympy's functions, whose names begin with a capital letter. No other strings.
_SYMBOL = re.compile(r"Symbol\('\w+'")
_HARMLESS = re.compile(r"(?!.*(__|\.\s*[A-Za-z_]|\b[a-z_]\w*\s*\())[\w\s+\-*/%(),.<>=!~&|]*", re.ASCII)


def load_program(path: Path) -> ExportedProgram:
    """The exported program in a .pt2 file.

    Raises:
        ModelFileError: not a .pt2 file, or it holds parts that could run code.
    """
    import torch

    _refuse_code(path)
    try:
        with _only_weights():
            return torch.export.load(path)
    except Exception as error:  # pickle, zip, JSON and schema errors have no common root
        raise cannot_load(path, "torch.export", error) from error


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


def _refuse_code(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            programs = [archive.read(name) for name in names if name.endswith(".json")]
        expressions = [text for program in programs for text in _expressions(program)]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise cannot_load(path, "torch.export", error) from error
    code = next((name for name in names if _CODE_MEMBER.search(name)), None)
    if code is None:
        code = next((text for text in expressions if not _HARMLESS.fullmatch(_SYMBOL.sub("Symbol(", text))), None)
    if code is not None:
        raise ModelFileError(
            f"{path}: holds '{code[:80]}', which could run code and was not opened. Export the model again."
        )


def _expressions(program: bytes) -> list[str]:
    """Every size expression in a serialised program, wherever it stands."""
    found: list[str] = []
    json.loads(program, object_hook=lambda node: found.append(str(node.get("expr_str", ""))))
    return found


@contextmanager
def _only_weights() -> Iterator[None]:
    """Makes every `torch.load` underneath refuse pickles that ask for more than tensors."""
    key = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(key)
    os.environ[key] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[key]
        else:
            os.environ[key] = before
