"""Where a layer's channels lie in its tensors."""

import pytest
from torch import nn

from compressor.core.groups import Role
from compressor.graph.axes import Footprint, NoRule, bare_parameter, is_depthwise, member_of, tied_blocks

EIGHT = Footprint(tuple(range(8)), tuple(range(8)))


def axes(module, role, footprint=EIGHT, whole_norm_groups=False):
    member = member_of(module, "layer", role, footprint, whole_norm_groups)
    return [(axis.tensor.removeprefix("layer."), axis.axis) for axis in member.axes], [
        a.name for a in member.attributes
    ]


@pytest.mark.parametrize(
    ("module", "role", "tensors", "attributes"),
    [
        (nn.Conv2d(8, 8, 3), Role.PRODUCER, [("weight", 0), ("bias", 0)], ["out_channels"]),
        (nn.Conv2d(8, 8, 3, bias=False), Role.PRODUCER, [("weight", 0)], ["out_channels"]),
        (nn.Conv1d(8, 4, 3), Role.CONSUMER, [("weight", 1)], ["in_channels"]),
        (nn.ConvTranspose3d(4, 8, 3), Role.PRODUCER, [("weight", 1), ("bias", 0)], ["out_channels"]),
        (nn.ConvTranspose2d(8, 4, 3), Role.CONSUMER, [("weight", 0)], ["in_channels"]),
        (nn.Linear(4, 8), Role.PRODUCER, [("weight", 0), ("bias", 0)], ["out_features"]),
        (nn.Linear(8, 4), Role.CONSUMER, [("weight", 1)], ["in_features"]),
        (nn.Embedding(5, 8), Role.PRODUCER, [("weight", 1)], ["embedding_dim"]),
        (
            nn.BatchNorm2d(8),
            Role.CHANNELWISE,
            [("weight", 0), ("bias", 0), ("running_mean", 0), ("running_var", 0)],
            ["num_features"],
        ),
        (nn.BatchNorm1d(8, affine=False, track_running_stats=False), Role.CHANNELWISE, [], ["num_features"]),
        (nn.InstanceNorm2d(8), Role.CHANNELWISE, [], ["num_features"]),
        (nn.LayerNorm(8), Role.CHANNELWISE, [("weight", 0), ("bias", 0)], ["normalized_shape"]),
        (nn.LayerNorm(8, elementwise_affine=False), Role.CHANNELWISE, [], ["normalized_shape"]),
        (nn.GroupNorm(2, 8), Role.CHANNELWISE, [("weight", 0), ("bias", 0)], ["num_channels"]),
        (nn.PReLU(8), Role.CHANNELWISE, [("weight", 0)], ["num_parameters"]),
        (nn.PReLU(), Role.CHANNELWISE, [], []),
        (
            nn.Conv2d(8, 8, 3, groups=8),
            Role.CHANNELWISE,
            [("weight", 0), ("bias", 0)],
            ["in_channels", "out_channels", "groups"],
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_every_kind_of_layer(module, role, tensors, attributes):
    assert axes(module, role) == (tensors, attributes)
    state = module.state_dict()
    assert all(state[tensor].shape[axis] == 8 for tensor, axis in tensors)


def test_reading_in_blocks():
    member = member_of(nn.Conv2d(8, 4, 3, groups=2), "layer", Role.CONSUMER, EIGHT, False)
    assert member.axes[0].position == (0, 1, 2, 3) and member.position == tuple(range(8))


def test_whole_norm_groups_leave():
    member = member_of(nn.GroupNorm(4, 8), "layer", Role.CHANNELWISE, EIGHT, True)
    assert [(a.name, a.per_positions) for a in member.attributes] == [("num_channels", 1), ("num_groups", 2)]


def test_bare_parameters():
    owner = nn.Module()
    member = bare_parameter("scale.gamma", 1, owner, EIGHT)
    assert member.axes[0].tensor == "scale.gamma" and member.axes[0].axis == 1 and member.attributes == ()
    owner.normalized_shape = (8,)  # a norm written by hand
    assert [a.name for a in bare_parameter("norm.weight", 0, owner, EIGHT).attributes] == ["normalized_shape"]


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (nn.LSTM(8, 8), "LSTM has no rule"),
        (nn.MultiheadAttention(8, 2), "MultiheadAttention has no rule"),
        (nn.LayerNorm([4, 8]), "several axes"),
        (nn.ConvTranspose2d(8, 4, 3, groups=2), "grouped transposed"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(8, 4)), "layer .* is computed by a parametrisation"),
    ],
)
def test_no_rule_says_why(module, reason):
    with pytest.raises(NoRule, match=reason):
        axes(module, Role.CONSUMER)


def test_depthwise_and_blocks():
    assert is_depthwise(nn.Conv2d(8, 8, 3, groups=8)) and tied_blocks(nn.Conv2d(8, 8, 3, groups=8)) == 1
    assert not is_depthwise(nn.Conv2d(8, 16, 3, groups=8)) and tied_blocks(nn.Conv2d(8, 16, 3, groups=8)) == 8
    assert not is_depthwise(nn.Conv2d(1, 1, 3)) and not is_depthwise(nn.Linear(8, 8))
    assert tied_blocks(nn.GroupNorm(4, 8)) == 4 and tied_blocks(nn.BatchNorm2d(8)) == 1


def test_the_root_module_has_no_name():
    assert member_of(nn.Linear(4, 8), "", Role.PRODUCER, EIGHT, False).axes[0].tensor == "weight"
