"""A program file becomes a module, checked against the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from compressor.core.errors import ModelFileError, UnsupportedModel
from compressor.loading.programs.check import check_equal, check_freed
from compressor.loading.programs.program_file import FileInput, ProgramFile
from compressor.loading.programs.trial import Axes, candidates, random_inputs, with_kinds
from compressor.loading.recognise import FileKind
from exporters.signature import ExampleInputs, Interface

Note = Callable[[str], None]
_CHECKED_BATCHES = (1, 5)  # others than those that the module was made with


@dataclass(frozen=True)
class LoadedProgram:
    """A module that computes what the file computes, and what the file says of it."""

    module: nn.Module
    inputs: ExampleInputs
    inputs_from: str  # where their shapes come from
    description: str  # what is in the file

    @property
    def output_names(self) -> tuple[str, ...]:
        """As the file has them; empty where it has none."""
        return self.inputs.interface.output_names

    @property
    def metadata(self) -> dict[str, str]:
        """What the file's author wrote into it."""
        return dict(self.inputs.interface.metadata)


def load_program(
    path: Path,
    kind: FileKind,
    *,
    inputs: Sequence[str] = (),
    data_sample_shape: Sequence[int] | None = None,
    note: Note = lambda sentence: None,
) -> LoadedProgram:
    """Reads a torch.export program, a TorchScript archive or an ONNX file; runs no code from it.

    Args:
        path: the file.
        kind: what `recognise` says it is.
        inputs: shapes as on the command line; needed where the file does not say them.
        data_sample_shape: shape of one sample of the data, without the batch axis.
        note: receives sentences that people should read.

    Raises:
        InvalidOption: `inputs` do not fit, or are missing.
        ModelFileError: the file is damaged, or refers to files that it may not.
        UnsupportedModel: an operator has no counterpart, or the module would compute something else.
    """
    file = _open(path, kind)
    if not file.inputs:
        raise ModelFileError(f"{path}: the program has no input, so there is nothing to run it with. Export it again.")
    file.inputs = with_kinds(file.inputs, inputs)
    for spec in file.inputs:
        if spec.dtype.is_floating_point and spec.dtype is not torch.float32:
            kind_of_numbers = str(spec.dtype).removeprefix("torch.")
            raise UnsupportedModel(
                f"{path}: its input '{spec.name}' is {kind_of_numbers}. Export the model in float32."
            )
    first: UnsupportedModel | None = None
    try:
        for axes in candidates(file.inputs, inputs, data_sample_shape):
            try:
                module = _converted(file, axes)
            except UnsupportedModel as error:
                if axes.frozen_batch is not None:
                    note(f"{path}: its batch stays fixed at {axes.frozen_batch}, since it cannot be freed: {error}.")
                else:
                    first = first or error
                continue
            if first is not None and (fixed := _what_is_fixed(file, axes)):
                note(f"{path}: {fixed}, because otherwise: {first}.")
            return LoadedProgram(module, _example(file, module, axes), axes.source, file.description)
    except ModelFileError as error:
        raise type(error)(f"{path}: {error}") from error
    raise UnsupportedModel(f"{path}: {file.description}: {first}. Pass the PyTorch module that it was made from.")


def _open(path: Path, kind: FileKind) -> ProgramFile:
    if kind is FileKind.ONNX:
        from compressor.loading.programs.onnx_file import OnnxFile

        return OnnxFile.open(path)
    if kind is FileKind.TORCHSCRIPT:
        from compressor.loading.programs.script_file import ScriptFile

        return ScriptFile.open(path)
    from compressor.loading.programs.exported_file import ExportedProgramFile

    return ExportedProgramFile.open(path)


def _converted(file: ProgramFile, axes: Axes) -> nn.Module:
    runs = [
        random_inputs(file.inputs, shapes, seed) for seed, shapes in enumerate(filter(None, (axes.first, axes.second)))
    ]
    module = file.build(runs, axes.frozen_batch)
    check_equal(file, module, _cases(file.inputs, axes))
    if axes.frozen_batch is not None:
        check_freed(file, module, [random_inputs(file.inputs, axes.first, 20 + seed) for seed in range(3)])
    return module


def _cases(inputs: Sequence[FileInput], axes: Axes) -> list[list[Tensor]]:
    """Random inputs: two batch sizes that are new to the module, and the other lengths where further axes vary."""
    shapes = [axes.first]
    if axes.dynamic_batch:
        shapes = [tuple((size, *shape[1:]) for shape in axes.first) for size in _CHECKED_BATCHES]
    if axes.second is not None and axes.other_sizes and axes.frozen_batch is None:
        shapes.append(axes.second)
    return [random_inputs(inputs, shape, 10 + seed) for seed, shape in enumerate(shapes)]


def _what_is_fixed(file: ProgramFile, axes: Axes) -> str:
    """For people: which axes the file calls variable, and are not any more."""
    fixed = [
        f"axis {axis} of '{spec.name}' was fixed at {shape[axis]}"
        for spec, shape, named in zip(file.inputs, axes.first, axes.dynamic, strict=True)
        for axis, size in enumerate(spec.shape or ())
        if isinstance(size, str) and axis not in named
    ]
    return ", ".join(fixed)


def _example(file: ProgramFile, module: nn.Module, axes: Axes) -> ExampleInputs:
    """One sample where the batch varies, else what the file wants."""
    shapes = [(1, *shape[1:]) if axes.dynamic_batch else shape for shape in axes.first]
    tensors = random_inputs(file.inputs, shapes, 0)
    known = _vocabularies(module)
    generator = torch.Generator().manual_seed(0)
    for index, spec in enumerate(file.inputs):
        if index in known and "mask" not in spec.name and "type" not in spec.name:
            tensors[index] = torch.randint(known[index], shapes[index], generator=generator).to(spec.dtype)
    interface = Interface(file.output_names, axes.dynamic, axes.other_sizes, file.metadata)
    return ExampleInputs(tuple(spec.name for spec in file.inputs), tuple(tensors), interface=interface)


def _vocabularies(module: nn.Module) -> dict[int, int]:
    """Number of an input that an embedding reads -> how many ids it knows."""
    graph = module.graph
    assert isinstance(graph, torch.fx.Graph)
    known: dict[int, int] = {}
    for index, node in enumerate(node for node in graph.nodes if node.op == "placeholder"):
        for user in node.users:
            layer = module.get_submodule(str(user.target)) if user.op == "call_module" else None
            if isinstance(layer, nn.Embedding):
                known[index] = min(known.get(index, layer.num_embeddings), layer.num_embeddings)
    return known
