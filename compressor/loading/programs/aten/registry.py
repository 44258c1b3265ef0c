"""Finds what to write for an ATen operator: a layer, a layer that holds sizes, or the operator as it is."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

import compressor.loading.programs.aten.families as families
from compressor.core.errors import UnsupportedModel
from compressor.loading.programs.builder import Builder
from compressor.loading.programs.values import Value

Arguments = dict[str, Any]  # by the names of the operator's schema, defaults filled in
Handler = Callable[[Builder, Arguments], Any]
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_TAKE_NUMBERS = [f"aten::{name}{end}.Tensor" for name in ("add", "sub", "mul", "div") for end in ("", "_")]
_NAMESPACES = ("aten", "prims", "torchvision")
_RAGGED = ("torchvision::nms",)  # not tagged as such
_TOUCH_FILES = ("aten::from_file", "aten::save")  # all there are, by the names of the operators' arguments


def apply(build: Builder, overload: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Writes one call of an operator such as torch.ops.aten.conv2d.default.

    Raises:
        UnsupportedModel: the operator is none of PyTorch's own, or does more than compute.
    """
    schema = overload._schema
    if schema.name.partition("::")[0] not in _NAMESPACES:
        raise UnsupportedModel("it belongs to another package; only PyTorch's own operators are covered")
    if schema.name in _TOUCH_FILES:
        raise UnsupportedModel("it reads or writes files, and was not run")
    ragged = schema.name in _RAGGED or torch.Tag.dynamic_output_shape in overload.tags
    if ragged and _picks_by_value(schema.name, args):
        raise UnsupportedModel(
            "how much it gives depends on what the input holds; export the model without such post-processing"
        )
    changed = args[0] if schema.is_mutable and args else None
    if isinstance(changed, Value):
        if changed.constant and changed.name.endswith(_STATISTICS):  # of a batch norm in training mode
            return changed
        build.check_writable(changed)
    handler = _handlers().get(schema.name)
    if handler is not None:
        return handler(build, bound(schema, args, kwargs))
    if f"{schema.name}.{schema.overload_name}" in _TAKE_NUMBERS:
        args = tuple(_plain(arg) if index else arg for index, arg in enumerate(args))
    # A device that stands in the file would keep the module from moving to another one.
    kept = {name: value for name, value in kwargs.items() if name not in ("device", "pin_memory")}
    return build.call(overload, *args, **kept)


def _picks_by_value(name: str, args: tuple[Any, ...]) -> bool:
    """Indexing does so only with a mask."""
    if name not in ("aten::index", "aten::_unsafe_index"):
        return name != "aten::repeat_interleave"
    return any(isinstance(index, Value) and index.dtype in (torch.bool, torch.uint8) for index in args[1])


def _plain(arg: Any) -> Any:
    """A constant without axes, as TorchScript keeps numbers, as a number."""
    lone = isinstance(arg, Value) and arg.constant and not arg.trainable and not arg.ndim
    return arg.tensor.item() if lone else arg


def bound(schema: torch._C.FunctionSchema, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    """Arguments by name."""
    values: Arguments = {}
    for index, argument in enumerate(schema.arguments):
        if index < len(args):
            values[argument.name] = args[index]
        elif argument.name in kwargs:
            values[argument.name] = kwargs[argument.name]
        else:
            values[argument.name] = argument.default_value if argument.has_default_value() else None
    return values


@cache
def _handlers() -> dict[str, Handler]:
    """Name of the operator, as in "aten::conv2d" -> what writes it; collected from the files of `families`."""
    found: dict[str, Handler] = {}
    for module in pkgutil.iter_modules(families.__path__):
        table: dict[str, Handler] = importlib.import_module(f"{families.__name__}.{module.name}").HANDLERS
        assert not found.keys() & table.keys(), module.name
        found.update(table)
    return found


def first_of(value: Value) -> list[Value | None]:
    """For operators that return more than one tensor, of which only the first counts outside of training."""
    return [value, None, None, None]
