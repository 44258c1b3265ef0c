"""The module as every format sees it: on the CPU, evaluating, with one shared torch.export program."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, ShapesCollection
from torch.export.graph_signature import InputKind

from exporters.errors import InvalidExportOption, UnsupportedOperator
from exporters.failures import first_line, unsupported
from exporters.modules import evaluating, on_cpu, without_fast_path
from exporters.quiet import quietly
from exporters.signature import ExampleInputs, flatten_outputs


@dataclass(frozen=True)
class Program:
    """What torch.export made of the module."""

    exported: ExportedProgram
    dynamic_batch: bool
    batch: str  # "dynamic", or "fixed at N" and why
    fixed_axes: str = ""  # axes that the source calls variable, and that are not in this program


class TensorOutputs(nn.Module):
    """The module with its outputs as a plain tuple, so that a file of it needs no foreign output class."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Tensor, **kwargs: Tensor) -> tuple[Tensor, ...]:
        """The inner module's output tensors, in the order of `flatten_outputs`."""
        return tuple(flatten_outputs(self.module(*args, **kwargs)))


class Source:
    """What formats are written from; get one from `prepared`, which keeps the module in the right state meanwhile."""

    def __init__(self, module: nn.Module, inputs: ExampleInputs) -> None:
        self.inputs = inputs
        try:
            output = inputs.call(module)
        except Exception as error:
            shapes = ", ".join(f"{n} {tuple(t.shape)}" for n, t in zip(inputs.names, inputs.tensors, strict=True))
            raise InvalidExportOption(
                f"export: `inputs` must be what the module accepts, but with {shapes} it raises "
                f"{type(error).__name__}: {first_line(error)} Give inputs of another shape or kind."
            ) from error
        self.module = module if _is_plain(output) else TensorOutputs(module)
        named = inputs.interface.output_names
        fits = len(named) == len(flatten_outputs(output))
        self.output_names = named if fits else _output_names(output, inputs.names)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs in every file."""
        return self.inputs.names

    @cached_property
    def batched_inputs(self) -> ExampleInputs:
        """The example inputs with at least two of everything: tracers take a size of one for a constant."""
        return self.inputs if self.inputs.batch_size > 1 else self.inputs.tiled(2)

    def program(self) -> Program:
        """The torch.export program, made once; its batch is dynamic if the model allows it.

        Raises:
            UnsupportedOperator: torch.export cannot capture the model.
        """
        if isinstance(self._capture, UnsupportedOperator):
            raise self._capture
        return self._capture

    @cached_property
    def _capture(self) -> Program | UnsupportedOperator:
        """With every axis that varies; else with the batch alone; else with the shapes of the example."""
        wanted = self.inputs.interface.axis_names(len(self.inputs.tensors))
        batch = tuple({0: named[0]} if 0 in named else {} for named in wanted)
        reason = ""
        for axes in [wanted] if wanted == batch else [wanted, batch]:
            if not any(axes):
                continue
            inputs = self.batched_inputs if any(0 in named for named in axes) else self.inputs
            try:
                exported = _capture(self.module, inputs, axes)
            except Exception as error:  # whatever stops a tracer in a user's code
                reason = reason or f" (no dynamic batch: {first_line(error)})"
                continue
            dynamic = any(0 in named for named in axes)
            text = "dynamic" if dynamic else f"fixed at {self.inputs.batch_size}"
            return Program(exported, dynamic, text, _fixed_axes(exported, self.input_names, wanted))
        try:
            exported = _capture(self.module, self.inputs, ({},) * len(wanted))
            fixed = _fixed_axes(exported, self.input_names, [{a: n for a, n in named.items() if a} for named in wanted])
            return Program(exported, False, f"fixed at {self.inputs.batch_size}{reason}", fixed)
        except Exception as error:
            return unsupported("torch.export", error, self.module)


@contextmanager
def prepared(module: nn.Module, inputs: ExampleInputs) -> Iterator[Source]:
    """Brings `module` (a copy, if it is not on the CPU) into the state for exporting, and back.

    Raises:
        InvalidExportOption: the inputs do not share a batch axis, or the module does not accept them.
    """
    sizes = {int(tensor.shape[0]) if tensor.ndim else 0 for tensor in inputs.tensors}
    if len(sizes) != 1 or 0 in sizes:
        shapes = ", ".join(f"{n} {tuple(t.shape)}" for n, t in zip(inputs.names, inputs.tensors, strict=True)) or "none"
        raise InvalidExportOption(
            f"export: `inputs` must be tensors that share the batch size on axis 0, but got {shapes}. Add a batch axis."
        )
    module = on_cpu(module)
    with evaluating(module), without_fast_path():
        yield Source(module, inputs.to("cpu"))


def _capture(module: nn.Module, inputs: ExampleInputs, axes: Sequence[Mapping[int, str]]) -> ExportedProgram:
    """`axes`: per input, those that vary. Beside the batch, torch may still find one that cannot, and fixes it."""
    # Copies, because shapes are told by object, and one tensor may have been given twice.
    copies = replace(inputs, tensors=tuple(t.clone() for t in inputs.tensors))
    args, kwargs = _arguments(copies)
    shapes, dynamic = None, any(axes)
    if dynamic:
        batch, shapes = Dim("batch"), ShapesCollection()
        for tensor, named in zip(copies.tensors, axes, strict=True):
            shapes[tensor] = {axis: Dim.AUTO if axis else batch for axis in named}
    with quietly():
        program = torch.export.export(module, args, kwargs, dynamic_shapes=shapes)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine; they would go into the files
    _mend_conditions(program, inputs.names)
    # Saved with the program; noise, so that no image of the user's goes into a file.
    program.example_inputs = _arguments(inputs.random(1 if dynamic else inputs.batch_size, seed=0))
    return program


def _mend_conditions(program: ExportedProgram, names: Sequence[str]) -> None:
    """Conditions on the sizes of inputs that reach the code as **kwargs (a decorator's, or `TensorOutputs`).

    torch (2.15) notes them as L['kwargs']['x'], but its own programs know L['x'] alone, and stop with a NameError.
    """
    conditions = getattr(program, "_guards_code", [])
    for i, condition in enumerate(conditions):
        for name in names:
            condition = re.sub(rf"L\['\w+'\]\['{re.escape(name)}'\]", f"L['{name}']", condition)
        conditions[i] = condition


def _fixed_axes(program: ExportedProgram, names: Sequence[str], axes: Sequence[Mapping[int, str]]) -> str:
    given = {spec.arg.name for spec in program.graph_signature.input_specs if spec.kind is InputKind.USER_INPUT}
    shapes = [node.meta["val"].shape for node in program.graph.nodes if node.name in given]
    fixed = [
        f"{axis} of '{name}' at {shape[axis]}"
        for name, shape, named in zip(names, shapes, axes, strict=True)
        for axis in named
        if isinstance(shape[axis], int)
    ]
    return ", ".join(fixed)


def _arguments(inputs: ExampleInputs) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    return ((), dict(zip(inputs.names, inputs.tensors, strict=True))) if inputs.by_keyword else (inputs.tensors, {})


def _is_plain(output: Any) -> bool:
    if type(output) in (tuple, list):
        return all(_is_plain(item) for item in output)
    if type(output) is dict:
        return all(isinstance(key, str) and _is_plain(value) for key, value in output.items())
    return isinstance(output, Tensor)


def _output_names(output: Any, taken: tuple[str, ...]) -> tuple[str, ...]:
    """Keys of a dictionary of tensors, "output" for a single tensor, else "output_0", "output_1", ..."""
    n = len(flatten_outputs(output))
    if isinstance(output, Mapping):
        keys = tuple(str(key) for key, value in output.items() if isinstance(value, Tensor))
        if len(keys) == n and len({*keys, *taken}) == n + len(taken):  # a file may use no name twice
            return keys
    return ("output",) if n == 1 else tuple(f"output_{i}" for i in range(n))
