"""Builds groups by hand, so that these tests need no graph."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from compressor.core.groups import ChannelGroup, GroupMember, Role, TensorAxis


def member(model, layer, role, positions=None, channels=None, axis=0, tensors=("weight", "bias")):
    module = model.get_submodule(layer)
    size = module.weight.shape[axis]
    positions = tuple(range(size)) if positions is None else tuple(positions)
    channels = positions if channels is None else tuple(channels)
    axes = tuple(
        TensorAxis(f"{layer}.{name}", axis if name == "weight" else 0, positions, channels)
        for name in tensors
        if getattr(module, name, None) is not None
    )
    return GroupMember(layer, type(module).__name__, role, positions, channels, axes)


def producer(model, layer, **kwargs):
    return member(model, layer, Role.PRODUCER, **kwargs)


def channelwise(model, layer, **kwargs):
    return member(model, layer, Role.CHANNELWISE, **kwargs)


def group(*members):
    n_channels = 1 + max(channel for each in members for channel in each.channel)
    return ChannelGroup(members[0].layer, n_channels, members)


def linear(rows):
    """A linear layer without bias that has these rows, as model and group."""
    weight = torch.as_tensor(rows, dtype=torch.float32)
    model = nn.Sequential(nn.Linear(weight.shape[1], weight.shape[0], bias=False))
    model[0].weight.data.copy_(weight)
    return model, group(producer(model, "0"))


def conv(weight):
    """A convolution without bias that has this weight (n, c, kH, kW), as model and group."""
    weight = torch.as_tensor(weight, dtype=torch.float32)
    model = nn.Sequential(nn.Conv2d(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), bias=False))
    model[0].weight.data.copy_(weight)
    return model, group(producer(model, "0"))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def hand():
    return SimpleNamespace(
        member=member, producer=producer, channelwise=channelwise, group=group, linear=linear, conv=conv
    )
