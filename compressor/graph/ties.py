"""Axes that code takes to be of one size: tied, where nothing less makes a cut network run.

`C // num_heads` takes the inner width of an attention for the width of its input; one `head_dim` serves queries, keys
and values. No operator says so. Where a cut network stops inside such a module, equal axes are made one: first those
that one attribute may count, then those that its layers make, then all. Fewer channels can be chosen freely, but
whatever is chosen fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntEnum
from itertools import combinations

from torch import nn

from compressor.graph.attributes import axes_of_attributes
from compressor.graph.axis import Axis, merge, unify
from compressor.graph.layers import hidden_axes, makes_channels
from compressor.graph.marks import is_pytorchs
from compressor.graph.tracing import Step, Trace

MAX_LAYERS = 12  # in a module whose axes may be tied; a larger one is no block but a network


class Tie(IntEnum):
    """How much of a kind of module is tied."""

    NOTHING = 0
    COUNTED = 1  # attributes count axes of their value, and axes that one attribute may count are one
    MADE = 2  # axes of one size that its layers make
    ALL = 3  # all axes of one size


def tie(model: nn.Module, traced: Trace, kinds: Mapping[str, Tie]) -> None:
    """Makes equal axes one, inside every module of the named kinds.

    The kind "" stands for all modules that are in no block: their integers may then count axes of their value, but
    nothing is tied. What PyTorch's own modules keep is not seen to arrive anywhere, and counts by value from the first.
    """
    blocks = tuple(f"{layer}." for layer, module in model.named_modules() if layer and kind_of(module))
    for layer, module in model.named_modules():
        if is_pytorchs(module) or (kinds.get("") and not f"{layer}.".startswith(blocks)):
            traced.guessed.add(layer)
        if not kind_of(module):
            continue
        level = kinds.get(kind_of(module), Tie.NOTHING)
        if level is Tie.NOTHING:
            continue
        traced.guessed.update(path for _, path in _inside(module, layer))
        why = f"the code of {layer} ({type(module).__name__}) takes two sizes to be one"
        for inner, path in _inside(module, layer) if level is Tie.COUNTED else ():
            _tie_counted(inner, path, traced, why)
        if level is Tie.COUNTED:
            continue
        first: dict[int, Axis] = {}
        for axis in _axes(module, layer, traced, level):
            known = first.setdefault(axis.size, axis)
            unify(known, axis, why)


def tie_what_is_counted(model: nn.Module, traced: Trace) -> None:
    """Makes the axes one that one attribute was seen to count: `head_dim` of queries and of values, both halves of a
    split, the state in all layers of a recurrent network. It can hold one number only."""
    for attribute, axes in traced.counted.items():
        owner = f"{attribute.layer}.{attribute.name}" if attribute.layer else attribute.name
        for axis in axes[1:]:
            unify(axes[0], axis, f"{owner} counts two axes")
    for layer, module in model.named_modules():
        if isinstance(module, nn.RNNBase):
            first, *others = (axis for axis in hidden_axes(module, layer, traced) if axis is not None)
            for axis in others:
                unify(first, axis, f"{layer}.hidden_size counts two axes")


def _inside(module: nn.Module, layer: str) -> Iterator[tuple[nn.Module, str]]:
    for name, inner in module.named_modules():
        yield inner, ".".join(part for part in (layer, name) if part)


def _tie_counted(module: nn.Module, layer: str, traced: Trace, why: str) -> None:
    """One number for several axes: `head_dim` of queries and of values, `c` of both halves of a split.

    Two axes of one tensor (heads and their size, both of them 8) are never meant.
    """
    together = {
        frozenset((a.resolve(), b.resolve()))
        for step in traced.steps_of.get(layer, ())
        for dims in (*step.inputs, *step.outputs)
        for a, b in combinations([axis for axis in dims if axis is not None], 2)
    }
    for _, _, candidates in list(axes_of_attributes(module, layer, traced)):
        first = candidates[0]
        for axis in candidates[1:]:
            if frozenset((first.resolve(), axis.resolve())) not in together:
                unify(first, axis, why)


def kind_of(module: nn.Module) -> str:
    """The class of a block: a module of a few layers that is not itself a layer."""
    n_layers = sum(bool(makes_channels(inner)[0]) for inner in module.modules())
    if not 1 <= n_layers <= MAX_LAYERS or not any(module.children()):
        return ""
    return f"{type(module).__module__}.{type(module).__qualname__}"


def owner_of(step: Step, modules: Mapping[str, nn.Module]) -> str:
    """The kind of the innermost block that executes an operator; empty where there is none."""
    for layer in reversed(step.modules):
        module = modules.get(layer)
        if module is not None and layer and (kind := kind_of(module)):
            return kind
    return ""


def _axes(module: nn.Module, layer: str, traced: Trace, level: Tie) -> Iterator[Axis]:
    prefix = f"{layer}." if layer else ""
    for name, inner in module.named_modules():
        path = f"{prefix}{name}." if name else prefix
        leaf, number = makes_channels(inner)
        for own, parameter in inner._parameters.items():
            if parameter is None or parameter.dim() < 2:
                continue
            dims = traced.tensors[f"{path}{own}"][:2]
            if level is Tie.MADE and own == leaf:
                dims = [dims[number]]
            elif level is Tie.MADE:
                dims = dims[:1] if f"{path}{own}" in traced.makes else []
            for axis in dims:
                if axis is not None:
                    yield axis
                    yield from _live(axis)


def _live(axis: Axis) -> Iterator[Axis]:
    """The part of a product that may shrink: of queries, keys and values in one layer, the width of each."""
    factors = axis.factors()
    live = [factor for factor in factors if any(not atom.frozen for atom in factor.atoms())]
    if 0 < len(live) < len(factors):
        yield merge(live)
