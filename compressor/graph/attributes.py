"""Sizes that a module keeps in its attributes (num_heads, head_dim, embed_dim) and gives to operators.

An operator that is told sizes (view, expand, split, ...) got them from somewhere. Where a module that was running has
an integer attribute of the value of an axis that may shrink, the attribute counts that axis. A guess by value can be
wrong where two axes are of one size; so every cut is tried on a copy before anybody relies on it. A tuple that is an
operator's shape as it stands, or a split's pieces, is no guess: its entries count axes by their position.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from compressor.graph.axis import Axis, part
from compressor.graph.tracing import Step, Trace

# Operators that are told sizes.
_SIZED = frozenset(
    f"aten.{name}"
    for name in (
        "view", "_unsafe_view", "reshape", "_reshape_alias", "expand", "repeat", "split", "split_with_sizes", "slice",
        "zeros", "ones", "full", "empty", "new_zeros", "new_ones", "new_empty", "new_full",
        "constant_pad_nd",
    )
)  # fmt: skip


# Those that are told the shape of what they return.
_SHAPED = frozenset(
    f"aten.{name}"
    for name in (
        "view", "_unsafe_view", "reshape", "_reshape_alias", "expand", "zeros", "ones", "full", "empty", "new_zeros",
        "new_ones", "new_empty", "new_full",
    )
)  # fmt: skip


_ORDINALS = ("idx", "index", "_id")  # endings of attributes that number things and do not count them


def sizes_by_value(module: nn.Module, layer: str, traced: Trace) -> Iterator[tuple[str, int | None, Axis]]:
    """(attribute, entry of a tuple, axis) for the attributes of a module that is none of PyTorch's own layers."""
    for name, entry, candidates in axes_of_value(module, layer, traced):
        yield name, entry, candidates[0]


def axes_of_value(module: nn.Module, layer: str, traced: Trace) -> Iterator[tuple[str, int | None, list[Axis]]]:
    """As `sizes_by_value`, with every axis that the attribute may count."""
    numbers = list(_numbers(module))
    if not numbers:
        return
    values = {value for _, _, value in numbers}
    own: dict[int, dict[tuple[int, ...], Axis]] = {}  # size -> axes of it, told apart by their atoms
    inner: dict[int, dict[tuple[int, ...], Axis]] = {}
    for step in traced.steps_of.get(layer, ()):
        if step.name not in _SIZED and "attention" not in step.name:
            continue
        target = own if step.modules and step.modules[-1] == layer else inner
        for axis in _sized_axes(step):
            if axis.size in values and any(not atom.frozen for atom in axis.atoms()):
                key = tuple(atom.number for atom in axis.atoms())
                target.setdefault(axis.size, {}).setdefault(key, axis)
    by_position = dict(_tuples_by_position(module, layer, traced))
    for name, entry, value in numbers:
        candidates = own.get(value) or inner.get(value) or {}
        if name in by_position:
            counted = by_position[name][entry or 0]
            if counted is not None:
                yield name, entry, [counted]
        elif candidates:
            yield name, entry, list(candidates.values())


def _tuples_by_position(module: nn.Module, layer: str, traced: Trace) -> Iterator[tuple[str, list[Axis | None]]]:
    """(attribute, the axis that each of its entries counts) for tuples that are one operator's sizes as they stand."""
    for step in traced.steps_of.get(layer, ()):
        told = _told(step) if step.modules and step.modules[-1] == layer else None
        if told is None:
            continue
        for name, value in vars(module).items():
            if not isinstance(value, (tuple, list)) or not len(value) == len(told[0]) > 1:
                continue
            if all(entry in (-1, size) for entry, size in zip(value, told[0], strict=True)):
                yield name, told[1]


def _told(step: Step) -> tuple[tuple[int, ...], list[Axis | None]] | None:
    """The sizes that one operator was told, and the axes of these sizes: a shape, or the pieces of a split."""
    if step.name == "aten.split_with_sizes":
        number = step.dim % len(step.shapes[0])
        return tuple(shape[number] for shape in step.shapes), [dims[number] for dims in step.outputs]
    return (step.shapes[0], step.outputs[0]) if step.name in _SHAPED else None


def _numbers(module: nn.Module) -> Iterator[tuple[str, int | None, int]]:
    for name, value in vars(module).items():
        if name.startswith("_") or name.endswith(_ORDINALS) or isinstance(value, bool):
            continue
        if isinstance(value, int) and value > 1:
            yield name, None, value
        elif isinstance(value, (tuple, list)) and value and all(type(each) is int for each in value):
            yield from ((name, i, each) for i, each in enumerate(value) if each > 1)


def _sized_axes(step: Step) -> Iterator[Axis]:
    if "attention" in step.name:  # heads, and how many of them read one head of keys and values
        for axis in step.inputs[0][:-2]:
            if axis is not None:
                yield from (axis, *axis.factors())
        return
    if step.name == "aten.slice":  # a start counts the positions before it, and so does a stop
        whole = step.inputs[0][step.dim % len(step.inputs[0])]
        if whole is not None:
            yield from (part(whole, 0, number, "") for number in step.sizes if 0 < number < whole.size)
    for dims in (*step.outputs, *step.inputs):
        yield from (axis for axis in dims if axis is not None)
