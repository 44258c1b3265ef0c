"""From kept channels per group to what every tensor and attribute loses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from compressor.core.groups import ChannelGroup
from compressor.core.plan import AttributeChange, TensorCut


def expand(
    groups: Sequence[ChannelGroup], keep: Mapping[str, Sequence[int]], model: nn.Module
) -> tuple[tuple[TensorCut, ...], tuple[AttributeChange, ...]]:
    """The cuts that make each group keep `keep[group.name]`; a group that is not named stays whole.

    Cuts of several groups on one axis (a concatenation's consumer) are joined, in the coordinates of the whole model.
    """
    removed: dict[tuple[str, int], set[int]] = {}
    lost: dict[tuple[str, str], dict[int | None, set[int]]] = {}
    for group in groups:
        kept = set(keep.get(group.name, range(group.n_channels)))
        if len(kept) == group.n_channels:
            continue
        for member in group.members:
            for axis in member.axes:
                removed.setdefault((axis.tensor, axis.axis), set()).update(_gone(axis.position, axis.channel, kept))
        for size in group.sizes:
            gone = lost.setdefault((size.layer, size.attribute), {}).setdefault(size.entry, set())
            gone.update(_gone(size.position, size.channel, kept))
    shapes = {name: tensor.shape for name, tensor in _tensors(model).items()}
    cuts = tuple(
        TensorCut(tensor, axis, shapes[tensor][axis], tuple(p for p in range(shapes[tensor][axis]) if p not in gone))
        for (tensor, axis), gone in sorted(removed.items())
        if gone
    )
    changes = [_change(model, layer, attribute, gone) for (layer, attribute), gone in sorted(lost.items())]
    return cuts, tuple(change for change in changes if change.after != change.before)


def _gone(position: Sequence[int], channel: Sequence[int], kept: set[int]) -> set[int]:
    return {p for p, c in zip(position, channel, strict=True) if c not in kept}


def _change(model: nn.Module, layer: str, attribute: str, gone: Mapping[int | None, set[int]]) -> AttributeChange:
    before = getattr(model.get_submodule(layer), attribute)
    if isinstance(before, int):
        return AttributeChange(layer, attribute, before, before - len(gone[None]))
    after = tuple(size - len(gone.get(entry, ())) for entry, size in enumerate(before))
    return AttributeChange(layer, attribute, tuple(before), after)


def _tensors(model: nn.Module) -> dict[str, nn.Parameter]:
    tensors = dict(model.named_parameters(remove_duplicate=False))
    tensors.update(dict(model.named_buffers(remove_duplicate=False)))  # type: ignore[arg-type]
    return tensors
