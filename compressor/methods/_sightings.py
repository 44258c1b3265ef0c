"""How strongly a group's channels are active, as a function of the input that can be differentiated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from compressor.core.errors import UnsupportedModel
from compressor.core.groups import ChannelGroup, GroupMember, Role

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class _AllSeen(Exception):
    """Ends a pass through the model where nothing behind it is of interest."""


@dataclass(frozen=True)
class Sighting:
    """The group's channels on one tensor of one pass."""

    tensor: Tensor  # (N, ..., positions, ...)
    axis: int  # of the positions
    position: Tensor
    channel: Tensor  # of each position

    def by_position(self, tensor: Tensor) -> Tensor:
        """A tensor like the one that was seen, as (N, the group's positions, everything else)."""
        moved = tensor.movedim(self.axis, 1).index_select(1, self.position.to(tensor.device))
        return moved.reshape(*moved.shape[:2], -1)


@dataclass
class Sightings:
    """What the last pass showed."""

    n_channels: int
    n_places: int
    found: list[Sighting] = field(default_factory=list)
    layers: set[str] = field(default_factory=set)

    def joined(self, values: Sequence[Tensor]) -> Tensor:
        """One value per image and position of each sighting (N, positions) -> the mean for each channel (N, n)."""
        total = values[0].new_zeros(len(values[0]), self.n_channels)
        n_seen = torch.zeros(self.n_channels, dtype=total.dtype, device=total.device)
        for sighting, value in zip(self.found, values, strict=True):
            channel = sighting.channel.to(total.device)
            total = total.index_add(1, channel, value)
            n_seen += torch.bincount(channel, minlength=self.n_channels)
        return total / n_seen.clamp(min=1)

    def activity(self) -> Tensor:
        """Mean activation of each channel on each image of the last pass: (N, n_channels)."""
        return self.joined([seen.by_position(seen.tensor).mean(2) for seen in self.found])


@contextmanager
def watching(method: str, model: nn.Module, group: ChannelGroup, to_the_end: bool) -> Iterator[Sightings]:
    """Notes the group's channels in every pass: as convolutions and linear layers read them, behind the activation.

    A group that none of them reads is seen as the layers return it that make it.

    Raises:
        UnsupportedModel: no layer that could show the channels.
    """
    places = _places(model, group, Role.CONSUMER) or _places(model, group, Role.PRODUCER)
    if not places:
        raise UnsupportedModel(
            f"{method}: a convolution or linear layer must read or make the channels of {group.name}, but none does. "
            f"Leave it whole with --ignore {group.name}."
        )
    sightings = Sightings(group.n_channels, len(places))
    handles = [_watch(model, member, sightings, to_the_end) for member in places]
    try:
        yield sightings
    finally:
        for handle in handles:
            handle.remove()


def look(method: str, model: nn.Module, group: ChannelGroup, sightings: Sightings, inputs: Tensor) -> Any:
    """One pass; returns the model's output, or None if it ended early.

    Raises:
        UnsupportedModel: no layer showed the channels.
    """
    sightings.found.clear()
    sightings.layers.clear()
    output = None
    with suppress(_AllSeen):
        output = model(inputs * 1)  # a model may write to its input, which is not allowed where slopes begin
    if not sightings.found:
        raise UnsupportedModel(
            f"{method}: a convolution or linear layer must be called to show the channels of {group.name}, "
            f"but none is. Leave it whole with --ignore {group.name}."
        )
    return output


def _places(model: nn.Module, group: ChannelGroup, role: Role) -> list[GroupMember]:
    modules = dict(model.named_modules())
    return [m for m in group.having(role) if isinstance(modules.get(m.layer), (*CONVOLUTIONS, nn.Linear))]


def _watch(model: nn.Module, member: GroupMember, sightings: Sightings, to_the_end: bool) -> Any:
    module = model.get_submodule(member.layer)
    axis = 1 if isinstance(module, CONVOLUTIONS) else -1
    position, channel = torch.tensor(member.position), torch.tensor(member.channel)

    def note(tensor: Tensor) -> None:
        sightings.found.append(Sighting(tensor, axis, position, channel))
        sightings.layers.add(member.layer)
        if not to_the_end and len(sightings.layers) == sightings.n_places:
            raise _AllSeen

    if member.role is Role.CONSUMER:
        return module.register_forward_pre_hook(lambda _module, args: note(args[0]))
    return module.register_forward_hook(lambda _module, _args, output: note(output))
