"""Reads a group's weights channel by channel, and joins what several layers say about one channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compressor.core.errors import UnsupportedModel
from compressor.core.groups import ChannelGroup, Role, TensorAxis
from compressor.core.tensors import exact, tensor_named


@dataclass(frozen=True)
class Filters:
    """The weights that make a group's channels in one layer, on the CPU in double precision.

    A channel can stand for several positions of the layer's output (blocks of a grouped convolution that are cut alike,
    attention heads), and a layer can make only some of the group's channels (one branch of a concatenation).
    """

    channels: Tensor  # (n_made,) int64: the group channels that this layer makes, ascending
    values: Tensor  # (n_made, n_positions, ...): zeros where a channel has fewer positions than another

    @property
    def rows(self) -> Tensor:
        """All weights of a channel, flattened: (n_made, features)."""
        return self.values.flatten(1)


def producer_filters(model: nn.Module, group: ChannelGroup) -> list[Filters]:
    """One entry per weight that makes channels of the group. Biases are left out: they are no part of a filter.

    Raises:
        UnsupportedModel: a weight is infinite or not a number.
    """
    axes = dict.fromkeys(axis for member in group.having(Role.PRODUCER) for axis in member.axes if axis.channel)
    return [_by_channel(model, axis) for axis in axes if tensor_named(model, axis.tensor).dim() > 1]


def _by_channel(model: nn.Module, axis: TensorAxis) -> Filters:
    moved = exact(model, axis.tensor).movedim(axis.axis, 0)  # (size, ...)
    channels, index, counts = torch.tensor(axis.channel).unique(return_inverse=True, return_counts=True)
    values = moved.new_zeros(len(channels), int(counts.max()), *moved.shape[1:])  # (n_made, n_positions, ...)
    by_channel = index.argsort(stable=True)
    first = counts.cumsum(0) - counts  # where each channel's positions begin in `by_channel`
    slot = torch.empty_like(index)
    slot[by_channel] = torch.arange(len(index)) - first[index[by_channel]]
    values[index, slot] = moved[torch.tensor(axis.position)]
    return Filters(channels, values)


def norm_axes(model: nn.Module, group: ChannelGroup) -> Iterator[TensorAxis]:
    """The scale and shift of every normalisation layer in the group, known by its class or a class that it inherits."""
    for member in group.having(Role.CHANNELWISE):
        for axis in member.axes:
            layer, _, leaf = axis.tensor.rpartition(".")
            family = type(model.get_submodule(layer)).__mro__
            if leaf in {"weight", "bias"} and any("norm" in kind.__name__.lower() for kind in family):
                yield axis


def norm_scales(model: nn.Module, group: ChannelGroup) -> Tensor | None:
    """Mean of |scale| over the normalisation layers that see each channel: (n_channels,); None if a channel has none.

    Raises:
        UnsupportedModel: a scale is infinite or not a number.
    """
    scales = [axis for axis in norm_axes(model, group) if axis.tensor.rpartition(".")[2] == "weight"]
    total, seen = torch.zeros(2, group.n_channels, dtype=torch.float64)
    for axis in scales:
        channel = torch.tensor(axis.channel)
        total.index_add_(0, channel, exact(model, axis.tensor).abs()[torch.tensor(axis.position)])
        seen += torch.bincount(channel, minlength=group.n_channels)
    return total / seen if bool((seen > 0).all()) else None


def filter_scores(model: nn.Module, group: ChannelGroup, formula: Callable[[Tensor], Tensor]) -> Tensor | None:
    """Applies `formula` (rows (n, features) -> (n,), not negative) to each producer and joins the results.

    With one producer the result is the formula's. With several, each producer's values are divided by their mean, so
    that none counts more because its weights are larger or more numerous; a channel gets the mean over the producers
    that make it, times the mean of those means, so that the unit stays.

    Returns:
        (n_channels,) double; None if no producer makes some channel.
    """
    parts = [(filters.channels, formula(filters.rows)) for filters in producer_filters(model, group)]
    total, makers = torch.zeros(2, group.n_channels, dtype=torch.float64)
    for channels, values in parts:
        mean = values.mean()
        total[channels] += values / mean if mean > 0 else values
        makers[channels] += 1
    if not bool((makers > 0).all()):
        return None
    return total / makers * torch.stack([values.mean() for _, values in parts]).mean()


def channel_features(model: nn.Module, group: ChannelGroup) -> Tensor | None:
    """What the producers say about each channel, side by side, as points to compare with one another.

    Each producer's filters are divided by their mean length, so that none counts more because its weights are larger;
    one that does not make a channel says nothing (zeros) of it.

    Returns:
        (n_channels, features) double; None if no producer makes some channel.
    """
    parts, made = [], torch.zeros(group.n_channels, dtype=torch.bool)
    for filters in producer_filters(model, group):
        length = filters.rows.square().sum(1).sqrt().mean()
        part = filters.rows.new_zeros(group.n_channels, filters.rows.shape[1])
        part[filters.channels] = filters.rows / length if length > 0 else filters.rows
        parts.append(part)
        made[filters.channels] = True
    return torch.cat(parts, 1) if bool(made.all()) else None


def unmade(method: str, group: ChannelGroup) -> UnsupportedModel:
    """The refusal of a group with a channel that no producer makes."""
    return UnsupportedModel(
        f"{method}: a convolution, linear layer or embedding must make every channel of {group.name}, "
        f"but some come from elsewhere. Leave it whole with --ignore {group.name}."
    )


def producer_axes(group: ChannelGroup, parameters: Mapping[str, Tensor]) -> list[TensorAxis]:
    """Where the group's channels lie on the weights and biases of the layers that make them."""
    found = (axis for member in group.having(Role.PRODUCER) for axis in member.axes)
    return [axis for axis in dict.fromkeys(found) if axis.tensor in parameters and axis.channel]


def channel_sums(
    axes: Sequence[TensorAxis], weights: Mapping[str, Tensor], factors: Mapping[str, Tensor], n_channels: int
) -> Tensor:
    """Sum of factor times weight over everything that these axes say of each channel: (n_channels,) double."""
    total = torch.zeros(n_channels, dtype=torch.float64)
    for axis in axes:
        products = (weights[axis.tensor].detach() * factors[axis.tensor]).movedim(axis.axis, 0)  # (size, ...)
        sums = products.reshape(len(products), -1).sum(1).double().cpu()  # (size,)
        total.index_add_(0, torch.tensor(axis.channel), sums[torch.tensor(axis.position)])
    return total


def score_groups(groups: Sequence[ChannelGroup], score: Callable[[ChannelGroup], Tensor | None]) -> dict[str, Tensor]:
    """{group name: float32 (n_channels,)} for the groups that `score` can judge."""
    found = ((group.name, score(group)) for group in groups)
    return {name: values.float() for name, values in found if values is not None}
