"""What kind of dimension a group is: a convolution's channels, heads, the size of a head, an inner width, a stream.

Attention is known by its products, not by names of classes: where two activations are multiplied, the axes that stay
beside each other in the batch of products are heads, and those that are summed over or come from the values are the
size of a head. Of the rest, channels that only convolutions make are the convolutions'; what linear layers make and no
norm reads is the inner width of an MLP; everything else is the embedding stream, which blocks read and add to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import nn
from torch.nn.modules.conv import _ConvNd

from compressor.core.groups import CONV, EMBED, HEAD_DIM, HEADS, MLP, ChannelGroup, Role
from compressor.graph.axis import Axis
from compressor.graph.tracing import Step, Trace


def with_kinds(groups: Mapping[Axis, ChannelGroup], traced: Trace, model: nn.Module) -> dict[Axis, ChannelGroup]:
    """The groups, each with its kind."""
    heads: set[Axis] = set()
    sizes: set[Axis] = set()
    for step in traced.steps:
        if step.activation_macs and _multiplies_tokens(step):
            lead, last = _split(step)
            heads.update(atom for axis in lead if axis is not None for atom in axis.atoms())
            sizes.update(atom for axis in last if axis is not None for atom in axis.atoms())
    modules = dict(model.named_modules())
    return {
        atom: replace(group, kind=HEADS if atom in heads else HEAD_DIM if atom in sizes else _of_layers(group, modules))
        for atom, group in groups.items()
    }


def _multiplies_tokens(step: Step) -> bool:
    return "attention" in step.name or step.name in ("aten.bmm", "aten.baddbmm")


def _split(step: Step) -> tuple[list[Axis | None], list[Axis | None]]:
    """(axes that products stand beside each other on, axes that are summed over or come from the values)"""
    dims = step.outputs[0]
    return dims[:-2], [*step.pooled, dims[-1]]


def _of_layers(group: ChannelGroup, modules: Mapping[str, nn.Module]) -> str:
    makers = group.having(Role.PRODUCER)
    convolutions = sum(isinstance(modules.get(maker.layer), _ConvNd) for maker in makers)
    if convolutions == len(makers):
        return CONV
    normed = any(
        isinstance(modules.get(member.layer), (nn.LayerNorm, nn.RMSNorm)) or "RMSNorm" in member.kind
        for member in group.members
    )
    linear = all(isinstance(modules.get(maker.layer), nn.Linear) for maker in makers)
    return MLP if linear and not normed else EMBED
