import pytest
import torch
from torch import nn

from compressor.core.groups import ChannelGroup, GroupMember, Role, TensorAxis
from compressor.training.regularizers._channels import (
    all_weights,
    at_least_one,
    channel_norms,
    filters,
    norm_scales,
)

NAMES = ["normed", "residual", "concat", "depthwise", "shared", "flattened", "tied"]


def entries(model, group, wanted):
    """{channel: the set of (parameter, flat index)}: each entry once, however many axes and names lead to it."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    found = {channel: {} for channel in range(group.n_channels)}
    for member in group.members:
        for axis in member.axes:
            if axis.tensor not in parameters or not wanted(member, axis.tensor):
                continue
            parameter = parameters[axis.tensor]
            index = torch.arange(parameter.numel()).view(parameter.shape).movedim(axis.axis, 0)
            for position, channel in zip(axis.position, axis.channel, strict=True):
                for flat in index[position].flatten().tolist():
                    found[channel][id(parameter), flat] = parameter.detach().flatten()[flat].item()
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bias", [False, True])
def test_norms_count_every_entry_of_a_channel_once(nets, name, bias):
    model, groups = nets.build(name)
    for group in groups:
        found = entries(model, group, lambda _, tensor: bias or not tensor.endswith("bias"))
        expected = [sum(value**2 for value in of_channel.values()) ** 0.5 for of_channel in found.values()]
        slices = all_weights(model, group, bias)
        assert channel_norms(slices).tolist() == pytest.approx(expected, rel=1e-5)
        n_entries = torch.stack([each.n_entries() for each in slices]).sum(0)
        assert n_entries.tolist() == [len(of_channel) for of_channel in found.values()]


@pytest.mark.parametrize("name", NAMES)
def test_filters_are_the_weights_that_make_the_channels(nets, name):
    model, groups = nets.build(name)
    for group in groups:
        found = entries(
            model, group, lambda member, tensor: member.role is Role.PRODUCER and not tensor.endswith("bias")
        )
        expected = [sum(value**2 for value in of_channel.values()) ** 0.5 for of_channel in found.values()]
        assert channel_norms(filters(model, group)).tolist() == pytest.approx(expected, rel=1e-5)


def test_scales_of_all_norms_of_a_coupled_group(nets):
    model, groups = nets.build("normed")
    stream = norm_scales(model, nets.named(groups, "stem"))
    assert [each.name for each in stream] == ["bn.weight", "bn2.weight", "bn4.weight"]
    expected = (model.bn.weight**2 + model.bn2.weight**2 + model.bn4.weight**2).sqrt()
    assert torch.allclose(channel_norms(stream), expected)


def test_a_depthwise_convolution_is_no_norm_and_its_two_norms_are(nets):
    model, groups = nets.build("depthwise")
    assert [each.name for each in norm_scales(model, groups[0])] == ["middle.0.weight", "middle.3.weight"]


def test_scales_of_one_norm_that_three_groups_share(nets):
    model, groups = nets.build("concat")
    (scales,) = norm_scales(model, nets.named(groups, "b"))
    assert torch.equal(channel_norms([scales]), model.bn.weight.detach()[4:10].abs())
    assert scales.along(torch.arange(1.0, 7.0)).tolist() == [0] * 4 + [1, 2, 3, 4, 5, 6] + [0] * 5
    assert scales.along(torch.zeros(6), elsewhere=1.0).tolist() == [1] * 4 + [0] * 6 + [1] * 5


def test_frozen_scales_are_left_out(nets):
    model, groups = nets.build("normed")
    model.bn2.weight.requires_grad_(False)
    assert [each.name for each in norm_scales(model, nets.named(groups, "stem"))] == ["bn.weight", "bn4.weight"]


def test_along_reaches_every_position_of_a_channel(nets):
    """A channel is 16 columns of the linear layer behind the flattening."""
    model, groups = nets.build("flattened")
    columns = next(each for each in all_weights(model, groups[0], False) if each.name == "fc1.weight")
    laid = columns.along(torch.arange(6.0))
    assert laid.shape == (1, 96) and laid.flatten().tolist() == [float(i // 16) for i in range(96)]


def test_a_weight_that_makes_and_reads_the_group():
    """Entries of rows and columns of one channel: 3 by 3, channel 0 has row 0 and column 0, five entries."""
    model = nn.Sequential(nn.Linear(3, 3, bias=False))
    model[0].weight.data = torch.arange(1.0, 10).view(3, 3)
    every = (0, 1, 2)
    members = [
        GroupMember("0", "Linear", role, every, every, (TensorAxis("0.weight", axis, every, every),))
        for role, axis in ((Role.PRODUCER, 0), (Role.CONSUMER, 1))
    ]
    rows, columns = all_weights(model, ChannelGroup("0", 3, tuple(members)), False)
    squares = [1 + 4 + 9 + 16 + 49, 16 + 25 + 36 + 4 + 64, 49 + 64 + 81 + 9 + 36]
    assert channel_norms([rows, columns]).square().tolist() == pytest.approx(squares)
    assert (rows.along(torch.ones(3)) + columns.along(torch.ones(3))).diag().tolist() == [1, 1, 1]


def test_double_precision_stays(nets):
    model, groups = nets.build("normed")
    norms = channel_norms(filters(model.double(), groups[0]))
    assert norms.dtype == torch.float64


def test_at_least_one():
    some = torch.tensor([0.0, 2.0])
    assert at_least_one(some, torch.tensor([9.0, 0.0])) is some
    assert at_least_one(torch.zeros(3), torch.tensor([1.0, 3.0, 2.0])).tolist() == [0, 3, 0]
    alone = at_least_one(torch.zeros(2), torch.zeros(2))
    assert alone[0] > 0 and alone[1] == 0
