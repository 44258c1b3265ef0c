"""Where a layer's channels lie in its tensors: one rule per kind of layer, and the reason where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm

from compressor.core.groups import GroupMember, Role, SizedAttribute, TensorAxis


class NoRule(Exception):
    """The layer's channels cannot be cut; the text says why and what the user can do."""


@dataclass(frozen=True)
class Footprint:
    """Which positions of a layer's activation belong to which group channel."""

    position: tuple[int, ...]
    channel: tuple[int, ...]


def is_depthwise(module: nn.Module) -> bool:
    """One filter per channel: input, output and group counts are the same."""
    return isinstance(module, _ConvNd) and 1 < module.groups == module.in_channels == module.out_channels


def tied_blocks(module: nn.Module) -> int:
    """Into how many equal, contiguous blocks the layer divides its channels (1: it does not)."""
    if isinstance(module, nn.GroupNorm):
        return module.num_groups
    if isinstance(module, _ConvNd) and not is_depthwise(module):
        return module.groups
    return 1


def member_of(module: nn.Module, layer: str, role: Role, footprint: Footprint, whole_norm_groups: bool) -> GroupMember:
    """The layer as a group member, with the tensor axes and attributes that shrink.

    Args:
        module: the layer.
        layer: its module path.
        role: how it meets the group.
        footprint: the activation positions that it loses, and the channel of each.
        whole_norm_groups: a GroupNorm loses whole groups (`num_groups` shrinks) and not channels inside each.

    Raises:
        NoRule: the kind of layer has no rule, or its weight is not an ordinary parameter.
    """
    axes, attributes = _rule(module, role)
    own = {name for name, _ in module.named_parameters(recurse=False)} | {
        n for n, _ in module.named_buffers(recurse=False)
    }
    for tensor, _ in axes:
        if tensor == "weight" and tensor not in own and getattr(module, "weight", None) is not None:
            raise NoRule(
                f"the weight of {layer} ({type(module).__name__}) is computed by a parametrisation. "
                "Remove it first (torch.nn.utils.parametrize.remove_parametrizations)."
            )
    if isinstance(module, nn.GroupNorm) and whole_norm_groups:
        attributes = [*attributes, SizedAttribute("num_groups", module.num_channels // module.num_groups)]
    prefix = f"{layer}." if layer else ""
    return GroupMember(
        layer=layer,
        kind=type(module).__name__,
        role=role,
        position=footprint.position,
        channel=footprint.channel,
        axes=tuple(_axis(module, role, f"{prefix}{t}", axis, footprint) for t, axis in axes if t in own),
        attributes=tuple(attributes),
    )


def bare_parameter(name: str, axis: int, owner: nn.Module, footprint: Footprint) -> GroupMember:
    """A parameter that belongs to no layer with a rule (layer scale, position embedding, a norm written by hand)."""
    size_named = getattr(owner, "normalized_shape", None)
    attributes = (SizedAttribute("normalized_shape"),) if isinstance(size_named, tuple) and len(size_named) == 1 else ()
    return GroupMember(
        layer=name,
        kind="Parameter",
        role=Role.CHANNELWISE,
        position=footprint.position,
        channel=footprint.channel,
        axes=(TensorAxis(name, axis, footprint.position, footprint.channel),),
        attributes=attributes,
    )


def _axis(module: nn.Module, role: Role, tensor: str, axis: int, footprint: Footprint) -> TensorAxis:
    if role is Role.CONSUMER and isinstance(module, _ConvNd) and module.groups > 1:
        # The weight's axis 1 holds one block's inputs; all blocks lose the same ones (the engine ties them).
        block = module.in_channels // module.groups
        pairs = [(p, c) for p, c in zip(footprint.position, footprint.channel, strict=True) if p < block]
        return TensorAxis(tensor, axis, tuple(p for p, _ in pairs), tuple(c for _, c in pairs))
    return TensorAxis(tensor, axis, footprint.position, footprint.channel)


_Rule = tuple[Sequence[tuple[str, int]], list[SizedAttribute]]


def _sized(*names: str) -> list[SizedAttribute]:
    return [SizedAttribute(name) for name in names]


def _rule(module: nn.Module, role: Role) -> _Rule:
    if isinstance(module, _ConvNd):
        return _convolution(module, role)
    if isinstance(module, nn.Linear):
        if role is Role.PRODUCER:
            return [("weight", 0), ("bias", 0)], _sized("out_features")
        return [("weight", 1)], _sized("in_features")
    if isinstance(module, (_BatchNorm, _InstanceNorm)):
        return [(name, 0) for name in ("weight", "bias", "running_mean", "running_var")], _sized("num_features")
    if isinstance(module, nn.GroupNorm):
        return [("weight", 0), ("bias", 0)], _sized("num_channels")
    if isinstance(module, nn.LayerNorm):
        if len(module.normalized_shape) != 1:
            raise NoRule("a LayerNorm over several axes cannot lose channels. Normalise over the channel axis only.")
        return [("weight", 0), ("bias", 0)], _sized("normalized_shape")
    if isinstance(module, nn.PReLU):
        return ([("weight", 0)], _sized("num_parameters")) if module.num_parameters > 1 else ([], [])
    if isinstance(module, nn.Embedding):
        return [("weight", 1)], _sized("embedding_dim")
    raise NoRule(f"{type(module).__name__} has no rule for losing channels.")


def _convolution(module: _ConvNd, role: Role) -> _Rule:
    transposed = isinstance(module, _ConvTransposeNd)
    if role is Role.CHANNELWISE:
        return [("weight", 0), ("bias", 0)], _sized("in_channels", "out_channels", "groups")
    if transposed and module.groups > 1:
        raise NoRule("a grouped transposed convolution has no rule for losing channels.")
    out_axis, in_axis = (1, 0) if transposed else (0, 1)
    if role is Role.PRODUCER:
        return [("weight", out_axis), ("bias", 0)], _sized("out_channels")
    return [("weight", in_axis)], _sized("in_channels")
