"""Sizes that a module keeps in its attributes (num_heads, head_dim, embed_dim) and gives to operators.

What arrives at a call is known (`compressor.graph.marks`), and so is what a module compares with the size of what it is
given. What the module computes with is not (`self.dim // 2`), nor what is there for others to read. Where a cut network
stops inside the module, or the name speaks of channels, an integer of the value of an axis that may shrink, which an
operator of the module is told, is taken to count that axis. That is a guess, and can be wrong where two axes are of one
size; so every cut is tried on a copy before anybody relies on it.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from compressor.graph.axis import Axis
from compressor.graph.marks import Attribute, numbers
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


# Words in the names of attributes that count channels and their like.
_CHANNELS = ("dim", "head", "channel", "feature", "hidden", "intermediate", "embed", "key_value")


def sizes_of_attributes(module: nn.Module, layer: str, traced: Trace) -> Iterator[tuple[str, int | None, Axis]]:
    """(attribute, entry of a tuple, axis) for the attributes of a module that is none of PyTorch's own layers."""
    for name, entry, candidates in axes_of_attributes(module, layer, traced):
        yield name, entry, candidates[0]


def axes_of_attributes(module: nn.Module, layer: str, traced: Trace) -> Iterator[tuple[str, int | None, list[Axis]]]:
    """As `sizes_of_attributes`, with every axis that the attribute may count."""
    for name, entry, value in numbers(module):
        candidates = traced.counted.get(Attribute(layer, name, entry))
        if candidates is None and Attribute(layer, name, entry) in traced.compared:
            candidates = _given(value, layer, traced) or None
        if candidates is None:
            guessed = layer in traced.guessed or any(word in name for word in _CHANNELS)
            candidates = _of_value(value, layer, traced) if guessed else []
        if candidates:
            yield name, entry, candidates


def _given(value: int, layer: str, traced: Trace) -> list[Axis]:
    """Axes of this size of what the module is called with: those that it checks, and refuses to run with others."""
    axes = (axis for axis in traced.entered.get(layer, ()) if axis is not None and axis.size == value)
    return [axis for axis in axes if any(not atom.frozen for atom in axis.atoms())]


def _of_value(value: int, layer: str, traced: Trace) -> list[Axis]:
    """Axes of this size that may shrink, told apart by their atoms, which operators of the module are told."""
    own: dict[tuple[int, ...], Axis] = {}
    inner: dict[tuple[int, ...], Axis] = {}
    for step in traced.steps_of.get(layer, ()):
        if step.name not in _SIZED and "attention" not in step.name:
            continue
        target = own if step.modules and step.modules[-1] == layer else inner
        for axis in _sized_axes(step):
            if axis.size == value and any(not atom.frozen for atom in axis.atoms()):
                target.setdefault(tuple(atom.number for atom in axis.atoms()), axis)
    return list((own or inner).values())


def _sized_axes(step: Step) -> Iterator[Axis]:
    if "attention" in step.name:  # heads, and how many of them read one head of keys and values
        for axis in step.inputs[0][:-2]:
            if axis is not None:
                yield from (axis, *axis.factors())
        return
    for dims in (*step.outputs, *step.inputs):
        yield from (axis for axis in dims if axis is not None)
