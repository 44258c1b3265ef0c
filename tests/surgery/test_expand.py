"""From kept channels to what each tensor and attribute loses, worked by hand."""

import pytest
import torch
from torch import nn

from compressor.core.errors import ContractViolation
from compressor.core.groups import ChannelGroup, GroupMember, Role, SizedAttribute, TensorAxis
from compressor.core.plan import AttributeChange, TensorCut
from compressor.surgery.expand import expand


def member(layer, role, tensor, axis, position, channel, *attributes):
    axes = (TensorAxis(f"{layer}.{tensor}", axis, position, channel),)
    return GroupMember(layer, "Layer", role, position, channel, axes, attributes)


def test_a_channel_that_is_several_positions():
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Flatten(), nn.Linear(6, 1, bias=False))
    group = ChannelGroup(
        "0",
        2,
        (
            member("0", Role.PRODUCER, "weight", 0, (0, 1), (0, 1), SizedAttribute("out_channels")),
            member(
                "2", Role.CONSUMER, "weight", 1, (0, 1, 2, 3, 4, 5), (0, 0, 0, 1, 1, 1), SizedAttribute("in_features")
            ),
        ),
    )
    cuts, changes = expand([group], {"0": [1]}, model)
    assert cuts == (TensorCut("0.weight", 0, 2, (1,)), TensorCut("2.weight", 1, 6, (3, 4, 5)))
    assert changes == (AttributeChange("0", "out_channels", 2, 1), AttributeChange("2", "in_features", 6, 3))


def test_several_groups_on_one_axis_are_joined():
    """The consumer of a concatenation loses what both branches lose, in the whole model's coordinates."""
    model = nn.ModuleDict({"read": nn.Linear(5, 1, bias=False)})
    size = SizedAttribute("in_features")
    left = ChannelGroup("a", 2, (member("read", Role.CONSUMER, "weight", 1, (0, 1), (0, 1), size),))
    right = ChannelGroup("b", 3, (member("read", Role.CONSUMER, "weight", 1, (2, 3, 4), (0, 1, 2), size),))
    cuts, changes = expand([left, right], {"a": [1], "b": [0, 2]}, model)
    assert cuts == (TensorCut("read.weight", 1, 5, (1, 2, 4)),)
    assert changes == (AttributeChange("read", "in_features", 5, 3),)


def test_a_group_that_is_not_named_and_one_that_keeps_all_stay_whole():
    model = nn.ModuleDict({"read": nn.Linear(5, 1)})
    group = ChannelGroup("a", 5, (member("read", Role.CONSUMER, "weight", 1, tuple(range(5)), tuple(range(5))),))
    assert expand([group], {}, model) == ((), ())
    assert expand([group], {"a": range(5)}, model) == ((), ())


def test_attributes_that_shrink_by_blocks():
    model = nn.ModuleDict({"norm": nn.GroupNorm(3, 6)})
    sizes = SizedAttribute("num_channels"), SizedAttribute("num_groups", per_positions=2)
    group = ChannelGroup(
        "a", 3, (member("norm", Role.CHANNELWISE, "weight", 0, tuple(range(6)), (0, 0, 1, 1, 2, 2), *sizes),)
    )
    cuts, changes = expand([group], {"a": [0, 2]}, model)
    assert cuts == (TensorCut("norm.weight", 0, 6, (0, 1, 4, 5)),)
    assert changes == (AttributeChange("norm", "num_channels", 6, 4), AttributeChange("norm", "num_groups", 3, 2))
    broken = ChannelGroup("a", 6, (member("norm", Role.CHANNELWISE, "weight", 0, (0, 1), (0, 1), *sizes),))
    with pytest.raises(ContractViolation, match="1 removed positions do not divide evenly"):
        expand([broken], {"a": [1, 2, 3, 4, 5]}, model)


def test_tuples_and_bare_parameters_of_one_norm():
    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))
            self.normalized_shape = (4,)

    model, four = nn.ModuleDict({"norm": Norm()}), tuple(range(4))
    size = SizedAttribute("normalized_shape")
    members = tuple(
        GroupMember(name, "Parameter", Role.CHANNELWISE, four, four, (TensorAxis(name, 0, four, four),), (size,))
        for name in ("norm.weight", "norm.bias")
    )
    _, changes = expand([ChannelGroup("a", 4, members)], {"a": [1, 2]}, model)
    assert changes == (AttributeChange("norm", "normalized_shape", (4,), (2,)),)
