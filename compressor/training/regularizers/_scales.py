"""The scales of norms, of all groups that scales can switch off, as one vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

from compressor.core.errors import UnsupportedModel
from compressor.core.groups import ChannelGroup, Role
from compressor.training.regularizers._channels import Slice, at_least_single, norm_scales

NO_NORM = "it has no norm with a trained scale."
TOO_FEW_NORMS = "some of its channels have fewer norms with a trained scale than layers that make them, or none."
SHARED = "its norms' scales are those of another group, too."


class Scales:
    """Where each group's scales are in the vector. A coupled channel has one in every norm that it passes.

    A vector, and a few operations on it, take the place of as many for each norm. It holds whole norms, also the scales
    of channels that are of none of the groups; `inside` is False there.
    """

    def __init__(self, slices: Mapping[str, Sequence[Slice]]) -> None:
        """`slices`: {group: its scales}, each scale in one group."""
        self.sizes = {name: several[0].n_channels for name, several in slices.items()}  # channels of each group
        self._norms: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in slices}  # places and channels
        self._parameters: dict[int, nn.Parameter] = {}
        offsets: dict[int, int] = {}
        n_scales = 0
        for name, several in slices.items():
            for each in several:
                key, parameter = id(each.parameter), each.parameter
                if key not in offsets:
                    offsets[key], self._parameters[key] = n_scales, parameter
                    n_scales += parameter.numel()
                index = torch.arange(parameter.numel(), device=parameter.device).view_as(parameter)
                index = index.movedim(each.axis, 0)[each.position].reshape(
                    len(each.position), -1
                )  # (n_positions, scales)
                channel = each.channel.repeat_interleave(index.shape[1])
                self._norms[name].append((offsets[key] + index.flatten(), channel))
        first = dict(zip(self.sizes, accumulate(self.sizes.values(), initial=0), strict=False))
        found = [(place, first[name] + channel) for name, norms in self._norms.items() for place, channel in norms]
        self._place, self._channel = (torch.cat(tensors) for tensors in zip(*found, strict=True))
        self._n_scales = self._channel.bincount(minlength=sum(self.sizes.values()))  # of each channel
        self.inside = torch.zeros(n_scales, dtype=torch.bool, device=self._place.device)
        self.inside[self._place] = True

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Those that make up the vector, in its order."""
        return list(self._parameters.values())

    def read(self) -> Tensor:
        """All scales: (n_scales,), float32 or finer, on the parameters' device, where everything else then is, too."""
        values = torch.cat([at_least_single(parameter.detach()).flatten() for parameter in self.parameters])
        if self.inside.device != values.device:
            tensors = self._place, self._channel, self._n_scales, self.inside
            moved = (tensor.to(values.device) for tensor in tensors)
            self._place, self._channel, self._n_scales, self.inside = moved
        return values

    def write(self, values: Tensor) -> None:
        """The reverse; values (n_scales,)."""
        with torch.no_grad():
            for parameter, part in zip(self.parameters, self._parts(values), strict=True):
                parameter.copy_(part)

    def add_to_gradients(self, values: Tensor) -> None:
        """Adds them (n_scales,) to the gradients; norms that took no part in the loss have none and are left out."""
        for parameter, part in zip(self.parameters, self._parts(values), strict=True):
            if parameter.grad is not None:
                parameter.grad.add_(part)

    def _parts(self, values: Tensor) -> list[Tensor]:
        """A vector (n_scales,) as one tensor for each of the parameters, of its shape."""
        split = values.split([parameter.numel() for parameter in self.parameters])
        return [part.view_as(parameter) for part, parameter in zip(split, self.parameters, strict=True)]

    def lengths(self, values: Tensor) -> Tensor:
        """Euclidean norm of each channel's scales, the absolute value where there is one: (channels of all groups,)."""
        total = values.new_zeros(sum(self.sizes.values()))
        return total.index_add_(0, self._channel, values[self._place].square()).sqrt()

    def typical(self, values: Tensor) -> Tensor:
        """Root mean square of each channel's scales, which compares groups with few and many norms."""
        return self.lengths(values) / self._n_scales.to(values).sqrt()

    def spread(self, of_channels: Tensor) -> Tensor:
        """To each scale the value of its channel, 0 outside: (channels of all groups,) -> (n_scales,)."""
        total = of_channels.new_zeros(len(self.inside))
        total[self._place] = of_channels[self._channel]
        return total

    def by_group(self, of_channels: Tensor) -> dict[str, Tensor]:
        """(channels of all groups,) -> {group: (n_channels,), float32 on the CPU}."""
        return dict(zip(self.sizes, of_channels.float().cpu().split(list(self.sizes.values())), strict=True))

    def by_norm(self, flags: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Of each norm, the channels of which all scales are flagged, and the channels that it sees, on the CPU.

        Args:
            flags: (n_scales,) bool.

        Returns:
            {group: two tensors (norms, n_channels) of bool}.
        """
        found = {}
        for name, norms in self._norms.items():
            counts = []
            for place, channel in norms:
                chosen = flags.cpu()[place.cpu()]
                of_all = torch.stack([torch.ones_like(chosen), chosen]).long()  # (2, n_positions)
                counts.append(of_all.new_zeros(2, self.sizes[name]).index_add_(1, channel.cpu(), of_all))
            n_seen, n_flagged = torch.stack(counts, dim=1)  # (norms, n_channels) each
            found[name] = ((n_seen > 0) & (n_flagged == n_seen), n_seen > 0)
        return found


def found_scales(owner: str, model: nn.Module, groups: Sequence[ChannelGroup]) -> tuple[Scales, dict[str, str]]:
    """The scales of the groups that scales switch off, and {group: reason} for the other groups.

    In such a group each channel has as many norms as layers that make it, or more. Where it has fewer, something flows
    into the channel past all norms, which may be large when all scales are 0.

    Raises:
        UnsupportedModel: no group has norms enough.
    """
    found: dict[str, tuple[Slice, ...]] = {}
    left_alone: dict[str, str] = {}
    taken: set[tuple[int, int]] = set()
    for group in groups:
        slices = norm_scales(model, group)
        places = {(id(each.parameter), position) for each in slices for position in each.position.tolist()}
        if not slices:
            left_alone[group.name] = NO_NORM
        elif places & taken:
            left_alone[group.name] = SHARED
        elif bool((_n_norms(slices) < _n_makers(group).clamp_min(1)).any()):
            left_alone[group.name] = TOO_FEW_NORMS
        else:
            found[group.name] = slices
            taken |= places
    if not found:
        names = ", ".join(left_alone) or "no groups at all"
        raise UnsupportedModel(
            f"{owner}: a group must have a norm with a trained scale behind each layer that makes its channels, but "
            f"none has (looked at: {names}). Use group_lasso, which needs no norms."
        )
    return Scales(found), left_alone


def _n_norms(slices: Sequence[Slice]) -> Tensor:
    return torch.stack([(each.n_entries() > 0).cpu() for each in slices]).sum(0)  # (n_channels,)


def _n_makers(group: ChannelGroup) -> Tensor:
    total = torch.zeros(group.n_channels, dtype=torch.int64)
    for member in group.having(Role.PRODUCER):
        total[torch.tensor(sorted(set(member.channel)), dtype=torch.int64)] += 1
    return total
