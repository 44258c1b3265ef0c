"""From kept channels per group to what every tensor and attribute loses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from compressor.core.errors import ContractViolation
from compressor.core.groups import ChannelGroup, SizedAttribute
from compressor.core.plan import AttributeChange, TensorCut


def expand(
    groups: Sequence[ChannelGroup], keep: Mapping[str, Sequence[int]], model: nn.Module
) -> tuple[tuple[TensorCut, ...], tuple[AttributeChange, ...]]:
    """The cuts that make each group keep `keep[group.name]`; a group that is not named stays whole.

    Cuts of several groups on one axis (a concatenation's consumer) are joined, in the coordinates of the whole model.
    """
    removed: dict[tuple[str, int], set[int]] = {}
    lost: dict[tuple[str, SizedAttribute], set[int]] = {}
    for group in groups:
        kept = set(keep.get(group.name, range(group.n_channels)))
        for member in group.members:
            gone = {p for p, c in zip(member.position, member.channel, strict=True) if c not in kept}
            for attribute in member.attributes:
                lost.setdefault((member.layer, attribute), set()).update(gone)
            for axis in member.axes:
                positions = {p for p, c in zip(axis.position, axis.channel, strict=True) if c not in kept}
                removed.setdefault((axis.tensor, axis.axis), set()).update(positions)
    shapes = {name: tensor.shape for name, tensor in _tensors(model).items()}
    cuts = tuple(
        TensorCut(tensor, axis, size, tuple(p for p in range(size) if p not in gone))
        for (tensor, axis), gone in sorted(removed.items())
        if gone and (size := int(shapes[tensor][axis]))
    )
    changes = {_change(model, layer, attribute, len(gone)) for (layer, attribute), gone in lost.items() if gone}
    return cuts, tuple(sorted(changes, key=lambda change: (change.layer, change.attribute)))


def _change(model: nn.Module, layer: str, attribute: SizedAttribute, n_removed: int) -> AttributeChange:
    owner = layer
    if attribute.name == "normalized_shape" and layer.rpartition(".")[2] in dict(model.named_parameters()):
        owner = layer.rpartition(".")[0]
    module = _owner(model, owner)
    before = getattr(module, attribute.name)
    if n_removed % attribute.per_positions:
        raise ContractViolation(f"{layer}.{attribute.name}: {n_removed} removed positions do not divide evenly.")
    less = n_removed // attribute.per_positions
    if isinstance(before, tuple):
        return AttributeChange(_name_of(model, owner), attribute.name, before, (*before[:-1], before[-1] - less))
    return AttributeChange(_name_of(model, owner), attribute.name, before, before - less)


def _owner(model: nn.Module, layer: str) -> nn.Module:
    """The module at `layer`, or the module that holds the parameter of that name."""
    modules = dict(model.named_modules())
    return modules[layer] if layer in modules else modules[layer.rpartition(".")[0]]


def _name_of(model: nn.Module, layer: str) -> str:
    return layer if layer in dict(model.named_modules()) else layer.rpartition(".")[0]


def _tensors(model: nn.Module) -> dict[str, nn.Parameter]:
    tensors = dict(model.named_parameters(remove_duplicate=False))
    tensors.update(dict(model.named_buffers(remove_duplicate=False)))  # type: ignore[arg-type]
    return tensors
