"""A group's parameters read and changed channel by channel, where they are, without copies of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from compressor.core.groups import ChannelGroup, GroupMember, Role, TensorAxis


@dataclass(frozen=True, eq=False)
class Slice:
    """The channels of one group on one axis of one parameter.

    A weight that makes and reads the same group has two slices, and entries where row and column are of one channel
    would count twice for it: `counts` is 0 there in the second slice.
    """

    name: str
    parameter: nn.Parameter
    axis: int
    position: Tensor  # (n_positions,) int64, on the axis
    channel: Tensor  # (n_positions,) int64: group channel of each
    n_channels: int  # of the group
    counts: Tensor | None = None  # (shape of the parameter, or 1), 0 or 1; None: every entry counts
    whole: bool = False  # position i is channel i, from end to end: nothing to look up

    def along(self, values: Tensor, elsewhere: float = 0.0) -> Tensor:
        """A value per channel (n_channels,) laid along the axis, in a shape that broadcasts with the parameter."""
        shape = [1] * self.parameter.dim()
        shape[self.axis] = -1
        if self.whole:
            laid = values.view(shape)  # (1, ..., size, ..., 1)
        else:
            laid = values.new_full((self.parameter.shape[self.axis],), elsewhere)  # (size,)
            laid[self.position.to(values.device)] = values[self.channel.to(values.device)]
            laid = laid.view(shape)  # (1, ..., size, ..., 1)
        return laid if self.counts is None else elsewhere + (laid - elsewhere) * self.counts.to(values.device)

    def squares(self, tensor: Tensor | None = None) -> Tensor:
        """Sum of squares over each channel's entries of the parameter, or of a tensor of its shape: (n_channels,)."""
        squares = at_least_single(self.parameter.detach() if tensor is None else tensor).square()
        if self.counts is not None:
            squares = squares * self.counts.to(squares.device)
        others = [axis for axis in range(squares.dim()) if axis != self.axis]
        sums = squares.sum(others) if others else squares  # (size,)
        if self.whole:
            return sums
        total = sums.new_zeros(self.n_channels)
        return total.index_add_(0, self.channel.to(sums.device), sums[self.position.to(sums.device)])

    def n_entries(self) -> Tensor:
        """How many entries each channel has: (n_channels,)."""
        return self.squares(torch.ones_like(self.parameter))


def at_least_single(tensor: Tensor) -> Tensor:
    """The same numbers in float32, or in float64 if that is what they were in."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def channel_norms(slices: Sequence[Slice], tensors: Mapping[str, Tensor] | None = None) -> Tensor:
    """Euclidean norm of all entries of each channel, of the parameters or of `tensors` by name: (n_channels,)."""
    return torch.stack([each.squares(None if tensors is None else tensors[each.name]) for each in slices]).sum(0).sqrt()


def norm_scales(model: nn.Module, group: ChannelGroup) -> tuple[Slice, ...]:
    """The trained scales of the group's norms, known by their class or a class that it inherits."""

    def wanted(member: GroupMember, leaf: str, parameter: nn.Parameter) -> bool:
        if member.role is not Role.CHANNELWISE or leaf != "weight" or not parameter.requires_grad:
            return False
        return any("norm" in kind.__name__.lower() for kind in type(model.get_submodule(member.layer)).__mro__)

    return _slices(model, group, wanted)


def filters(model: nn.Module, group: ChannelGroup) -> tuple[Slice, ...]:
    """The weights, not the biases, of the layers that make the group's channels."""
    return _slices(model, group, lambda member, leaf, parameter: member.role is Role.PRODUCER and parameter.dim() > 1)


def all_weights(model: nn.Module, group: ChannelGroup, bias: bool) -> tuple[Slice, ...]:
    """Everything that leaves with a channel: filters, norm scales, depthwise kernels, columns of what reads it."""
    return _slices(model, group, lambda member, leaf, parameter: bias or not leaf.endswith("bias"))


def at_least_one(importance: Tensor, fallback: Tensor) -> Tensor:
    """`importance` if any is above 0, else zeros but for the channel with the largest fallback: (n_channels,)."""
    if bool((importance > 0).any()):
        return importance
    best = int(fallback.argmax())
    alone = torch.zeros_like(importance)
    alone[best] = fallback[best].clamp_min(torch.finfo(alone.dtype).tiny)
    return alone


def _slices(
    model: nn.Module, group: ChannelGroup, wanted: Callable[[GroupMember, str, nn.Parameter], bool]
) -> tuple[Slice, ...]:
    """Every place once, also where modules or parameters are shared."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    names = {id(parameter): name for name, parameter in model.named_parameters()}  # of shared ones, the first
    seen: set[tuple[int, TensorAxis]] = set()
    found: list[Slice] = []
    for member in group.members:
        for axis in member.axes:
            parameter = parameters.get(axis.tensor)
            if parameter is None or not axis.channel:
                continue
            place = (id(parameter), replace(axis, tensor=""))
            if place not in seen and wanted(member, axis.tensor.rpartition(".")[2], parameter):
                seen.add(place)
                found.append(_slice(names[id(parameter)], axis, parameter, group.n_channels, found))
    return tuple(found)


def _slice(name: str, axis: TensorAxis, parameter: nn.Parameter, n_channels: int, earlier: Sequence[Slice]) -> Slice:
    size = parameter.shape[axis.axis]
    position = torch.tensor(axis.position, device=parameter.device)
    channel = torch.tensor(axis.channel, device=parameter.device)
    new = Slice(name, parameter, axis.axis, position, channel, n_channels)
    counts = None
    for other in earlier:
        if other.parameter is parameter and other.axis != axis.axis:
            numbers = torch.arange(n_channels, device=parameter.device)
            fresh = (new.along(numbers, -1) != other.along(numbers, -2)).to(parameter.dtype)
            counts = fresh if counts is None else counts * fresh
    every = tuple(range(n_channels))
    return replace(new, counts=counts, whole=axis.position == axis.channel == every and size == n_channels)
