"""What was cut of each group, and its tensors read and changed channel by channel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compressor.core.groups import ChannelGroup, Role, TensorAxis
from compressor.core.plan import PruningPlan
from compressor.core.tensors import tensor_named


@dataclass(frozen=True)
class CutGroup:
    """A group that lost channels."""

    group: ChannelGroup
    kept: Tensor  # (n_kept,) int64, ascending
    gone: Tensor  # (n_gone,) int64, ascending


def cut_groups(plan: PruningPlan, groups: Iterable[ChannelGroup]) -> list[CutGroup]:
    """Those of `groups` that lose channels by this plan."""
    found = []
    for group in groups:
        kept = set(plan.groups[group.name].keep) if group.name in plan.groups else set(range(group.n_channels))
        gone = sorted(set(range(group.n_channels)) - kept)
        if gone:
            found.append(CutGroup(group, torch.tensor(sorted(kept)), torch.tensor(gone)))
    return found


def positions(axis: TensorAxis, n_channels: int) -> Tensor | None:
    """Where each channel lies on the axis, in order: (n_channels, n_positions); None if not all lie at as many."""
    by_channel: list[list[int]] = [[] for _ in range(n_channels)]
    for position, channel in zip(axis.position, axis.channel, strict=True):
        by_channel[channel].append(position)
    if not by_channel[0] or len({len(each) for each in by_channel}) > 1:
        return None
    return torch.tensor(by_channel)


def weight_axes(model: nn.Module, group: ChannelGroup, role: Role) -> Iterator[TensorAxis]:
    """Where the group lies on the weights (not the biases) of its members in this role, each place once."""
    for axis in dict.fromkeys(axis for member in group.having(role) for axis in member.axes):
        if axis.channel and tensor_named(model, axis.tensor).dim() > 1:
            yield axis


def shrunk(tensor: Tensor, name: str, plan: PruningPlan) -> Tensor:
    """A tensor of the original's shape, cut as the plan cuts the one with this name."""
    for cut in plan.cuts:
        if cut.tensor == name:
            tensor = tensor.index_select(cut.axis, torch.tensor(cut.keep))
    return tensor


def spread(tensor: Tensor, name: str, plan: PruningPlan) -> Tensor:
    """The reverse: a tensor of the small model in the original's shape, with zeros where it was cut."""
    for cut in plan.cuts:
        if cut.tensor == name:
            shape = [*tensor.shape]
            shape[cut.axis] = cut.size
            tensor = tensor.new_zeros(shape).index_copy(cut.axis, torch.tensor(cut.keep), tensor)
    return tensor
