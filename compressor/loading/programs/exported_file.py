"""Opens torch.export programs, without running code from them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind
from torch.utils import _pytree as pytree

from compressor.core.errors import ModelFileError, UnsupportedModel
from compressor.loading.programs.exported_program import build_exported
from compressor.loading.programs.program_file import FileInput
from exporters.errors import UnreadableProgram
from exporters.safe_program import open_program
from exporters.signature import flatten_outputs

_NAMES = "names.json"  # what our own exporter puts into its files
_LONGEST_TEXT = 1 << 20
_CHANGING = (OutputKind.BUFFER_MUTATION, OutputKind.USER_INPUT_MUTATION)
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class ExportedProgramFile:
    """An opened .pt2 file."""

    def __init__(self, program: ExportedProgram, names: dict[str, Any], metadata: dict[str, str]) -> None:
        self.program, self.metadata = program, metadata
        self.description = "a torch.export program"
        self.output_names: tuple[str, ...] = tuple(names.get("outputs", ()))
        self.inputs = _inputs(program, names)

    @classmethod
    def open(cls, path: Path) -> ExportedProgramFile:
        """Reads the file.

        Raises:
            ModelFileError: damaged, or it holds parts that could run code.
            UnsupportedModel: it keeps a state from call to call.
        """
        extra = _extra_files(path)
        try:
            program = open_program(path)
        except UnreadableProgram as error:
            raise ModelFileError(str(error)) from error
        for spec in program.graph_signature.output_specs:
            if spec.kind in _CHANGING and not str(spec.target).endswith(_STATISTICS):
                raise UnsupportedModel(
                    f"{path}: the program changes '{spec.target}' while it runs, which is not covered."
                )
        _evaluate(program)
        names = {}
        with suppress(ValueError):
            names = json.loads(extra.pop(_NAMES, "{}"))
        metadata = {str(key): str(value) for key, value in dict(names.get("metadata", {})).items()}
        return cls(program, names, {**extra, **metadata})

    def build(self, runs: Sequence[Sequence[Tensor]], frozen_batch: int | None = None) -> fx.GraphModule:
        """The program as a module; see `ProgramFile.build`."""
        return build_exported(self.program, [spec.name for spec in self.inputs], runs, frozen_batch)

    def outputs(self, cases: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
        """What the program gives, called as it was exported."""
        reference = self.program.module()
        with torch.no_grad():
            return [self._called(reference, tensors) for tensors in cases]

    def _called(self, reference: Any, tensors: Sequence[Tensor]) -> list[Tensor]:
        given = iter(tensors)
        flat = [
            spec.arg.value if isinstance(spec.arg, ConstantArgument) else next(given)
            for spec in self.program.graph_signature.input_specs
            if spec.kind is InputKind.USER_INPUT
        ]
        args, kwargs = pytree.tree_unflatten(flat, self.program.call_spec.in_spec)
        return flatten_outputs(reference(*args, **kwargs))


def _extra_files(path: Path) -> dict[str, str]:
    """Texts that were saved along with the program."""
    found: dict[str, str] = {}
    with suppress(OSError, ValueError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            _, inside, name = record.filename.partition("/extra/")
            if inside and name and record.file_size <= _LONGEST_TEXT:
                with suppress(UnicodeDecodeError):
                    found[name] = archive.read(record).decode()
    return found


def _inputs(program: ExportedProgram, names: dict[str, Any]) -> tuple[FileInput, ...]:
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    used = [
        placeholders[spec.arg.name]
        for spec in program.graph_signature.input_specs
        if spec.kind is InputKind.USER_INPUT and not isinstance(spec.arg, ConstantArgument)
    ]
    given = names.get("inputs") or ()
    labels = given if len(given) == len(used) else [node.name for node in used]
    axes = names.get("dynamic_axes") or [{}] * len(used)
    symbols: dict[str, str] = {}
    inputs = []
    for node, label, named in zip(used, labels, axes, strict=True):
        tensor = node.meta["val"]
        if not isinstance(tensor, Tensor):
            raise UnsupportedModel(f"its input '{label}' is no tensor but a number that varies, which is not covered")
        shape: list[int | str] = []
        for axis, size in enumerate(tensor.shape):
            if isinstance(size, int):
                shape.append(size)
                continue
            name = named.get(str(axis)) or ("batch" if axis == 0 else f"{label}_axis_{axis}")
            shape.append(symbols.setdefault(str(size), name))
        inputs.append(FileInput(str(label), tensor.dtype, tuple(shape)))
    return tuple(inputs)


def _evaluate(program: ExportedProgram) -> None:
    """Programs are often exported in training mode by mistake; dropout and batch norm are then set to evaluation."""
    for node in program.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if node.op != "call_function" or schema is None or not _keeps_statistics(node):
            continue
        for index, argument in enumerate(schema.arguments):
            if argument.name in ("train", "training") and index < len(node.args) and node.args[index] is True:
                node.update_arg(index, False)


def _keeps_statistics(node: fx.Node) -> bool:
    """A batch norm without them must use those of the batch, also in evaluation; that is what instance norms become."""
    names = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr]
    if "batch_norm" not in str(node.target):
        return True
    index = names.index("running_mean") if "running_mean" in names else len(node.args)
    return index < len(node.args) and node.args[index] is not None
