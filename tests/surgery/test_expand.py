"""From kept channels to what each tensor and attribute loses, worked by hand."""

from torch import nn

from compressor.core.groups import ChannelGroup, GroupMember, LayerSize, Role, TensorAxis
from compressor.core.plan import AttributeChange, TensorCut
from compressor.surgery.expand import expand


def member(layer, role, tensor, axis, position, channel):
    axes = (TensorAxis(f"{layer}.{tensor}", axis, position, channel),)
    return GroupMember(layer, "Layer", role, position, channel, axes)


def test_a_channel_that_is_several_positions():
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Flatten(), nn.Linear(6, 1, bias=False))
    six, pixels = (0, 1, 2, 3, 4, 5), (0, 0, 0, 1, 1, 1)
    members = (
        member("0", Role.PRODUCER, "weight", 0, (0, 1), (0, 1)),
        member("2", Role.CONSUMER, "weight", 1, six, pixels),
    )
    sizes = LayerSize("0", "out_channels", (0, 1), (0, 1)), LayerSize("2", "in_features", six, pixels)
    cuts, changes = expand([ChannelGroup("0", 2, members, sizes)], {"0": [1]}, model)
    assert cuts == (TensorCut("0.weight", 0, 2, (1,)), TensorCut("2.weight", 1, 6, (3, 4, 5)))
    assert changes == (AttributeChange("0", "out_channels", 2, 1), AttributeChange("2", "in_features", 6, 3))


def test_several_groups_on_one_axis_are_joined():
    """The consumer of a concatenation loses what both branches lose, in the whole model's coordinates."""
    model = nn.ModuleDict({"read": nn.Linear(5, 1, bias=False)})
    parts = {"a": ((0, 1), (0, 1)), "b": ((2, 3, 4), (0, 1, 2))}
    groups = [
        ChannelGroup(
            name,
            len(position),
            (member("read", Role.CONSUMER, "weight", 1, position, channel),),
            (LayerSize("read", "in_features", position, channel),),
        )
        for name, (position, channel) in parts.items()
    ]
    cuts, changes = expand(groups, {"a": [1], "b": [0, 2]}, model)
    assert cuts == (TensorCut("read.weight", 1, 5, (1, 2, 4)),)
    assert changes == (AttributeChange("read", "in_features", 5, 3),)


def test_a_position_of_two_groups_stays_only_if_both_keep_it():
    """Six positions are two heads of three: head 1 and dimension 0 go, so positions 1 and 2 stay."""
    model = nn.ModuleDict({"q": nn.Linear(1, 6, bias=False)})
    six = (0, 1, 2, 3, 4, 5)
    groups = [
        ChannelGroup(
            name,
            n,
            (member("q", Role.PRODUCER, "weight", 0, six, channel),),
            (LayerSize("q", "out_features", six, channel),),
        )
        for name, n, channel in (("heads", 2, (0, 0, 0, 1, 1, 1)), ("dims", 3, (0, 1, 2, 0, 1, 2)))
    ]
    cuts, changes = expand(groups, {"heads": [0], "dims": [1, 2]}, model)
    assert cuts == (TensorCut("q.weight", 0, 6, (1, 2)),)
    assert changes == (AttributeChange("q", "out_features", 6, 2),)


def test_a_group_that_is_not_named_and_one_that_keeps_all_stay_whole():
    model = nn.ModuleDict({"read": nn.Linear(5, 1)})
    group = ChannelGroup("a", 5, (member("read", Role.CONSUMER, "weight", 1, tuple(range(5)), tuple(range(5))),))
    assert expand([group], {}, model) == ((), ())
    assert expand([group], {"a": range(5)}, model) == ((), ())


def test_numbers_and_entries_of_tuples():
    model = nn.ModuleDict({"norm": nn.GroupNorm(3, 6), "layer": nn.LayerNorm([6, 2])})
    six, pairs = tuple(range(6)), (0, 0, 1, 1, 2, 2)
    sizes = (
        LayerSize("norm", "num_channels", six, pairs),
        LayerSize("norm", "num_groups", (0, 1, 2), (0, 1, 2)),
        LayerSize("layer", "normalized_shape", six, pairs, entry=0),
    )
    group = ChannelGroup("a", 3, (member("norm", Role.CHANNELWISE, "weight", 0, six, pairs),), sizes)
    cuts, changes = expand([group], {"a": [0, 2]}, model)
    assert cuts == (TensorCut("norm.weight", 0, 6, (0, 1, 4, 5)),)
    assert changes == (
        AttributeChange("layer", "normalized_shape", (6, 2), (4, 2)),
        AttributeChange("norm", "num_channels", 6, 4),
        AttributeChange("norm", "num_groups", 3, 2),
    )
