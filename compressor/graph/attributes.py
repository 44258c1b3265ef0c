"""Sizes that a module keeps in its attributes (num_heads, head_dim, embed_dim) and gives to operators.

An operator that is told sizes (view, expand, split, ...) got them from somewhere. Where a module that was running has
an integer attribute of the value of an axis that may shrink, the attribute counts that axis. A guess by value can be
wrong where two axes are of one size; so every cut is tried on a copy before anybody relies on it.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from compressor.graph.axis import Axis
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
        if step.name not in _SIZED:
            continue
        target = own if step.modules and step.modules[-1] == layer else inner
        for axis in _sized_axes(step):
            if axis.size in values and any(not atom.frozen for atom in axis.atoms()):
                key = tuple(atom.number for atom in axis.atoms())
                target.setdefault(axis.size, {}).setdefault(key, axis)
    for name, entry, value in numbers:
        candidates = own.get(value) or inner.get(value) or {}
        if candidates:
            yield name, entry, list(candidates.values())


def _numbers(module: nn.Module) -> Iterator[tuple[str, int | None, int]]:
    for name, value in vars(module).items():
        if name.startswith("_") or isinstance(value, bool):
            continue
        if isinstance(value, int) and value > 1:
            yield name, None, value
        elif isinstance(value, tuple) and value and all(type(each) is int for each in value):
            yield from ((name, i, each) for i, each in enumerate(value) if each > 1)


def _sized_axes(step: Step) -> Iterator[Axis]:
    for dims in (*step.outputs, *step.inputs):
        yield from (axis for axis in dims if axis is not None)
