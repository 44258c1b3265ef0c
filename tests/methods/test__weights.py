import pytest
import torch
from torch import nn

from compressor.core.errors import UnsupportedModel
from compressor.core.groups import ChannelGroup, GroupMember, Role, TensorAxis
from compressor.methods._weights import filter_scores, norm_scales, producer_filters


def absolute_sum(rows):
    return rows.abs().sum(1)


def test_a_channel_of_several_positions_gathers_them_all(hand):
    model, _ = hand.linear([[1, 2], [3, 4], [5, 6], [7, 8]])
    tied = hand.group(hand.producer(model, "0", channels=(0, 1, 0, 1)))
    (filters,) = producer_filters(model, tied)
    assert filters.channels.tolist() == [0, 1]
    assert filters.rows.tolist() == [[1, 2, 5, 6], [3, 4, 7, 8]]


def test_channels_with_fewer_positions_are_filled_with_zeros(hand):
    model, _ = hand.linear([[1.0], [2.0], [3.0]])
    uneven = hand.group(hand.producer(model, "0", channels=(1, 0, 1)))
    (filters,) = producer_filters(model, uneven)
    assert filters.rows.tolist() == [[2, 0], [1, 3]]


def test_output_channels_of_a_transposed_convolution_lie_on_axis_1(hand):
    model = nn.Sequential(nn.ConvTranspose2d(3, 2, 2))
    (filters,) = producer_filters(model, hand.group(hand.producer(model, "0", axis=1)))
    assert filters.values.shape == (2, 1, 3, 2, 2)
    assert torch.equal(filters.values[1, 0], model[0].weight[:, 1].double())


def test_several_producers_weigh_the_same_whatever_their_scale(hand):
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(1, 2, bias=False))
    model[0].weight.data = torch.tensor([[1.0], [3.0]])  # mean 2: relative 0.5 and 1.5
    model[1].weight.data = torch.tensor([[600.0], [200.0]])  # mean 400: relative 1.5 and 0.5
    group = hand.group(hand.producer(model, "0"), hand.producer(model, "1"))
    assert filter_scores(model, group, absolute_sum).tolist() == [201.0, 201.0]


def test_a_concatenation_is_judged_where_every_channel_has_a_maker(hand):
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(1, 1, bias=False))
    model[0].weight.data = torch.tensor([[1.0], [3.0]])
    model[1].weight.data = torch.tensor([[4.0]])
    both = hand.group(hand.producer(model, "0"), hand.producer(model, "1", channels=(2,)))
    assert filter_scores(model, both, absolute_sum).tolist() == [
        1.5,
        4.5,
        3.0,
    ]  # relative 0.5, 1.5, 1; unit (2 + 4) / 2
    assert filter_scores(model, ChannelGroup("0", 3, both.members[:1]), absolute_sum) is None


def test_a_layer_that_is_called_twice_counts_once(hand):
    model, group = hand.linear([[1.0], [2.0]])
    assert len(producer_filters(model, hand.group(*group.members, *group.members))) == 1


def test_zero_weights_score_zero(hand):
    model, group = hand.linear(torch.zeros(3, 2))
    assert filter_scores(model, group, absolute_sum).tolist() == [0, 0, 0]


def test_a_weight_that_is_not_a_number_is_named(hand):
    model, group = hand.linear([[1.0], [float("nan")]])
    with pytest.raises(UnsupportedModel, match=r"0\.weight.*1 are not"):
        filter_scores(model, group, absolute_sum)


class HandWrittenNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([-3.0, 1.0]))


class Activated(nn.BatchNorm2d):
    """A subclass whose own name does not say norm."""


def test_norms_are_known_by_class_and_others_are_not_counted(hand):
    model = nn.ModuleDict(
        {
            "conv": nn.Conv2d(1, 2, 1),
            "depthwise": nn.Conv2d(2, 2, 3, groups=2),
            "prelu": nn.PReLU(2),
            "by_hand": HandWrittenNorm(),
            "act": Activated(2),
        }
    )
    every = (0, 1)
    bare = GroupMember(
        "by_hand.weight", "Parameter", Role.CHANNELWISE, every, every, (TensorAxis("by_hand.weight", 0, every, every),)
    )
    others = [hand.channelwise(model, name) for name in ("depthwise", "prelu")]
    conv = hand.producer(model, "conv")
    assert norm_scales(model, hand.group(conv, *others)) is None
    assert norm_scales(model, hand.group(conv, *others, bare)).tolist() == [3, 1]
    assert norm_scales(model, hand.group(conv, *others, bare, hand.channelwise(model, "act"))).tolist() == [2, 1]


def test_the_scale_of_a_channel_at_several_positions_is_their_mean(hand):
    model = nn.Sequential(nn.LayerNorm(4))
    model[0].weight.data = torch.tensor([1.0, -2.0, 3.0, 6.0])
    assert norm_scales(model, hand.group(hand.channelwise(model, "0", channels=(0, 0, 1, 1)))).tolist() == [1.5, 4.5]
