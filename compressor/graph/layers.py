"""What PyTorch's own layers call their parts: the axes that make and read channels, the attributes that count them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm

from compressor.core.groups import Role
from compressor.graph.attributes import sizes_of_attributes
from compressor.graph.axis import Axis, divide, merge
from compressor.graph.marks import is_pytorchs
from compressor.graph.tracing import Trace


@dataclass(frozen=True)
class LayerRole:
    """How an axis of a tensor meets a group, and whether its module is the layer that people know it by."""

    role: Role
    layered: bool = True


_LAYERS = (
    _ConvNd,
    nn.Linear,
    nn.Embedding,
    _BatchNorm,
    _InstanceNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.PReLU,
    nn.RMSNorm,
)


def is_depthwise(module: nn.Module) -> bool:
    """One filter per channel: input, output and group counts are the same."""
    return isinstance(module, _ConvNd) and 1 < module.groups == module.in_channels == module.out_channels


def makes_channels(module: nn.Module) -> tuple[str, int]:
    """(tensor, axis) on which a layer makes channels; ("", 0) for layers that make none."""
    if isinstance(module, _ConvTransposeNd):
        return ("", 0) if is_depthwise(module) else ("weight", 1)
    if isinstance(module, (_ConvNd, nn.Linear)):
        return ("", 0) if is_depthwise(module) else ("weight", 0)
    if isinstance(module, nn.Embedding):
        return "weight", 1
    return "", 0


def role_of(module: nn.Module, leaf: str, number: int, name: str, atom: Axis, traced: Trace) -> LayerRole:
    """How axis `number` of a module's tensor `leaf` meets the group of `atom`."""
    if isinstance(module, _LAYERS) and leaf in ("weight", "bias", "running_mean", "running_var"):
        if isinstance(module, _ConvNd):
            return LayerRole(_role_in_convolution(module, leaf, number, atom, traced.tensors[name]))
        if isinstance(module, nn.Linear):
            return LayerRole(Role.CONSUMER if leaf == "weight" and number == 1 else Role.PRODUCER)
        return LayerRole(Role.PRODUCER if isinstance(module, nn.Embedding) and number == 1 else Role.CHANNELWISE)
    if any(atom in axis.atoms() for axis in traced.reads.get(name, ())):
        return LayerRole(Role.CONSUMER, layered=False)
    return LayerRole(Role.PRODUCER if name in traced.makes else Role.CHANNELWISE, layered=False)


def _role_in_convolution(module: _ConvNd, leaf: str, number: int, atom: Axis, weight: list[Axis | None]) -> Role:
    if is_depthwise(module):
        return Role.CHANNELWISE
    if leaf == "bias":
        return Role.PRODUCER
    out_axis = 1 if isinstance(module, _ConvTransposeNd) else 0
    if number == out_axis:
        return Role.PRODUCER
    return Role.CONSUMER


def sizes_of(module: nn.Module, layer: str, traced: Trace) -> Iterator[tuple[str, int | None, Axis]]:
    """(attribute, entry of a tuple, the axis that it counts) for every size that a module keeps."""
    prefix = f"{layer}." if layer else ""
    weight = traced.tensors.get(f"{prefix}weight")
    entered = traced.entered.get(layer)
    found: list[tuple[str, int | None, Axis | None]] = []
    if isinstance(module, _ConvNd):
        found = _sizes_of_convolution(module, weight)
    elif isinstance(module, nn.Linear) and weight:
        found = [("out_features", None, weight[0]), ("in_features", None, weight[1])]
    elif isinstance(module, nn.Embedding) and weight:
        found = [("embedding_dim", None, weight[1])]
    elif isinstance(module, (_BatchNorm, _InstanceNorm)):
        tensor = weight or traced.tensors.get(f"{prefix}running_mean")
        found = [("num_features", None, tensor[0] if tensor else _axis(entered, 1))]
    elif isinstance(module, nn.GroupNorm):
        channels = weight[0] if weight else _axis(entered, 1)
        found = [("num_channels", None, channels)]
        if channels is not None:
            found.append(
                ("num_groups", None, divide(channels, [module.num_groups, channels.size // module.num_groups], "")[0])
            )
    elif isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        n = len(module.normalized_shape)
        dims = weight or (entered[-n:] if entered else [None] * n)
        found = [("normalized_shape", i, axis) for i, axis in enumerate(dims)]
    elif isinstance(module, nn.PReLU) and weight and module.num_parameters > 1:
        found = [("num_parameters", None, weight[0])]
    elif isinstance(module, nn.RNNBase):
        read, kept = traced.tensors[f"{prefix}weight_ih_l0"], hidden_axes(module, layer, traced)
        found = [("input_size", None, read[1]), ("hidden_size", None, kept[0])]
        if module.proj_size:
            found.append(("proj_size", None, traced.tensors[f"{prefix}weight_hh_l0"][1]))
    yield from ((name, entry, axis) for name, entry, axis in found if axis is not None)
    if not found or not is_pytorchs(module):  # a class of the user's keeps more sizes than the layer that it is made of
        known = {name for name, _, _ in found} | _constants(module)
        yield from (size for size in sizes_of_attributes(module, layer, traced) if size[0] not in known)


def _constants(module: nn.Module) -> set[str]:
    """What PyTorch's classes among a module's own say they keep: sizes of kernels and the like."""
    classes = (kind for kind in type(module).__mro__ if kind.__module__.startswith("torch.nn."))
    return {name for kind in classes for name in vars(kind).get("__constants__", ())}


def hidden_axes(module: nn.RNNBase, layer: str, traced: Trace) -> list[Axis | None]:
    """The axis of the state in each layer and direction of a recurrent network; one number counts them all."""
    leaf = "weight_hr_l" if module.proj_size else "weight_hh_l"
    prefix = f"{layer}." if layer else ""
    return [traced.tensors[prefix + name][1] for name in module._parameters if name.startswith(leaf)]


def _axis(dims: list[Axis | None] | None, number: int) -> Axis | None:
    return dims[number] if dims and len(dims) > number else None


def _sizes_of_convolution(
    module: _ConvNd, weight: list[Axis | None] | None
) -> list[tuple[str, int | None, Axis | None]]:
    if not weight:
        return []
    first, second = weight[0], weight[1]
    one, other = (
        ("in_channels", "out_channels") if isinstance(module, _ConvTransposeNd) else ("out_channels", "in_channels")
    )
    if module.groups == 1:
        return [(one, None, first), (other, None, second)]
    if first is None:
        return []
    n = first.size // module.groups
    outer = divide(first, [module.groups, n], "")[0]
    inner = second if second is not None else Axis(1)
    return [(one, None, first), ("groups", None, outer), (other, None, merge([outer, inner]))]
