"""From axes to groups: every atomic axis that may shrink becomes a group of channels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn
from torch.nn.modules.conv import _ConvNd

from compressor.core.groups import (
    ChannelGroup,
    GroupMember,
    LayerSize,
    ProductCost,
    Reading,
    Role,
    SharedPositions,
    TensorAxis,
)
from compressor.graph.axis import Axis, Repeated
from compressor.graph.cost import owners_of
from compressor.graph.layers import makes_channels, role_of, sizes_of
from compressor.graph.tracing import Step, Trace

Positions = tuple[tuple[int, ...], tuple[int, ...]]  # positions, and the channel of each


@dataclass
class _Draft:
    """A group in the making."""

    atom: Axis
    members: dict[tuple[str, Role], GroupMember] = field(default_factory=dict)
    sizes: list[LayerSize] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)


class Places:
    """Where each atomic axis lies on an axis; every axis is worked out once."""

    def __init__(self) -> None:
        self._known: dict[Axis, dict[Axis, Positions]] = {}
        self._numbers: list[int] = []

    def of(self, axis: Axis) -> dict[Axis, Positions]:
        """{atomic axis that may shrink: its positions on `axis`}"""
        axis = axis.resolve()
        if axis not in self._known:
            self._known[axis] = self._work_out(axis)
        return self._known[axis]

    def _work_out(self, axis: Axis) -> dict[Axis, Positions]:
        found = {}
        for atom, index in axis.coordinates().items():
            if not atom.frozen and atom.size > 1:
                position = np.flatnonzero(index >= 0)
                found[atom] = (self._tuple_of(position), self._tuple_of(index[position]))
        return found

    def _tuple_of(self, numbers: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[int, ...]:
        """Its integers are shared with all other tuples: a flattened kernel bank has millions, 28 bytes each."""
        self._numbers.extend(range(len(self._numbers), int(numbers.max(initial=-1)) + 1))
        return tuple(map(self._numbers.__getitem__, numbers.tolist()))


def freeze_repeated(traced: Trace) -> None:
    """Freezes axes on which an atomic axis is two factors, before anything else is worked out."""
    met = [dims for step in traced.steps for dims in (*step.inputs, *step.outputs)]
    axes = (axis.resolve() for dims in (*traced.tensors.values(), *met) for axis in dims if axis is not None)
    for axis in dict.fromkeys(axes):
        while (twice := _repeated(axis)) is not None:
            twice.freeze("two of its copies are multiplied out on one axis")


def _repeated(axis: Axis) -> Axis | None:
    try:
        axis.coordinates()
    except Repeated as twice:
        return twice.atom
    return None


def keep_blocks_whole(model: nn.Module, traced: Trace) -> None:
    """Where a convolution's channels are blocks of channels, only the finer of the two may leave.

    Grouped convolutions and GroupNorm make a product of two axes that could both shrink. Taking from both at once would
    square what a layer loses, so the axis with more positions is chosen: whole blocks if there are many small ones,
    else the same channels of every block.
    """
    for layer, module in model.named_modules():
        leaf, number = makes_channels(module)
        dims = traced.tensors.get(f"{layer}.{leaf}" if layer else leaf)
        if not isinstance(module, _ConvNd) or not dims or (axis := dims[number]) is None:
            continue
        for term in axis.terms():
            live = [factor for factor in term.factors() if any(not atom.frozen for atom in factor.atoms())]
            finest = max(live, key=lambda factor: factor.size, default=None)
            for factor in live:
                if factor is not finest:
                    factor.freeze("the other axis of its blocks, which has more positions, is the one that may shrink")


def draft_groups(model: nn.Module, traced: Trace) -> tuple[list[_Draft], Places]:
    """Every atomic axis on a parameter, with the layers that it lies on; frozen ones with their makers only."""
    places = Places()
    drafts: dict[Axis, _Draft] = {}
    for layer, module in model.named_modules():
        own: dict[str, Any] = {**module._parameters, **module._buffers}
        for leaf, tensor in own.items():
            name = f"{layer}.{leaf}" if layer else leaf
            if tensor is None or name not in traced.tensors:
                continue
            for number, axis in enumerate(traced.tensors[name]):
                if axis is None:
                    continue
                for atom, (position, channel) in places.of(axis).items():
                    draft = drafts.setdefault(atom, _Draft(atom))
                    role = role_of(module, leaf, number, name, atom, traced)
                    owner, kind = (layer, type(module).__name__) if role.layered else (name, "Parameter")
                    piece = TensorAxis(name, number, position, channel)
                    known = draft.members.get((owner, role.role))
                    axes = (*known.axes, piece) if known else (piece,)
                    first = known or GroupMember(owner, kind, role.role, position, channel, ())
                    draft.members[(owner, role.role)] = GroupMember(
                        owner, kind, role.role, first.position, first.channel, axes
                    )
    for layer, module in model.named_modules():
        for attribute, entry, axis in sizes_of(module, layer, traced):
            for atom, (position, channel) in places.of(axis).items():
                if atom in drafts:
                    drafts[atom].sizes.append(LayerSize(layer, attribute, position, channel, entry))
    return list(drafts.values()), places


def add_readings(drafts: Sequence[_Draft], traced: Trace, places: Places) -> None:
    """Which executed operators read each group's channels together."""
    by_atom = {draft.atom: draft for draft in drafts}
    for number, step in enumerate(traced.steps):
        pooled = {atom for axis in step.pooled for atom in axis.atoms() if atom in by_atom}
        for atom in sorted(pooled, key=lambda a: a.number):
            axes = tuple(_lying(step.inputs, atom, places))
            if axes:
                results = tuple(_lying(step.outputs, atom, places))
                by_atom[atom].readings.append(Reading(number, step.name, axes, results))


def products_of(
    traced: Trace, places: Places, groups: Mapping[Axis, ChannelGroup], n_inputs: int
) -> tuple[ProductCost, ...]:
    """The products of activations that groups change, and how: MACs for one of `n_inputs` in the batch."""
    found = []
    for step in traced.steps:
        for macs, axes in _factors(step) if step.activation_macs else ():
            shared = [_shared(axis, places, groups) for axis in axes if axis is not None]
            if any(shared):
                found.append(ProductCost(macs / n_inputs, tuple(each for each in shared if each)))
    return tuple(found)


def _factors(step: Step) -> Iterator[tuple[float, list[Axis | None]]]:
    """(MACs, the axes that they are proportional to) of a product: those of the result, and those summed over."""
    if "attention" not in step.name:
        yield step.activation_macs, [*step.outputs[0], *step.pooled]
        return
    # Two products in one: queries by keys sum over the head dimension, and their result by values keeps the values'.
    *lead, _, value = step.outputs[0]
    read = step.pooled[0] if step.pooled else None
    sizes = [axis.size if axis is not None else 1 for axis in (read, value)]
    for axis, size in zip((read, value), sizes, strict=True):
        yield step.activation_macs * size / sum(sizes), [*lead, axis]


def _shared(axis: Axis, places: Places, groups: Mapping[Axis, ChannelGroup]) -> tuple[SharedPositions, ...]:
    owners = [(groups[atom].name, position) for atom, (position, _) in places.of(axis).items() if atom in groups]
    if not owners:
        return ()
    return tuple(SharedPositions(tuple(sorted(names)), n / axis.size) for names, n in owners_of(owners).items())


def _lying(
    tensors: Sequence[Sequence[Axis | None]], atom: Axis, places: Places
) -> Iterator[tuple[int, int, tuple[int, ...], tuple[int, ...]]]:
    for i, dims in enumerate(tensors):
        for j, axis in enumerate(dims):
            if axis is not None and atom in (found := places.of(axis)):
                yield (i, j, *found[atom])


def finish(drafts: Sequence[_Draft], model: nn.Module) -> dict[Axis, ChannelGroup]:
    """Groups by atomic axis, named after the first layer that makes their channels, in the model's order."""
    parameters = set(dict(model.named_parameters(remove_duplicate=False)))
    modules = dict(model.named_modules())
    order = {name: i for i, name in enumerate([*modules, *dict(model.named_parameters())])}
    ready = []
    for draft in drafts:
        members = sorted(draft.members.values(), key=lambda m: order.get(m.layer, len(order)))
        makers = [m.layer for m in members if m.role is Role.PRODUCER]
        # What buffers alone make (tables of positions) is not learned, and a model may compute it anew at any time.
        if makers and any(a.tensor in parameters for m in members if m.role is Role.PRODUCER for a in m.axes):
            ready.append((order.get(makers[0], len(order)), draft.atom.number, makers[0], members, draft))
    ready.sort(key=lambda each: each[:2])
    n_of: dict[str, int] = {}
    for each in ready:
        n_of[each[2]] = n_of.get(each[2], 0) + 1
    seen: dict[str, int] = {}
    groups = {}
    for _, _, name, members, draft in ready:
        seen[name] = seen.get(name, 0) + 1
        full = name if n_of[name] == 1 else f"{name}:{seen[name]}"
        groups[draft.atom] = ChannelGroup(
            full, draft.atom.size, tuple(members), tuple(draft.sizes), tuple(draft.readings)
        )
    return groups
