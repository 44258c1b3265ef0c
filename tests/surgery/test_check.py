"""Cutting equals masking where the graph is right, and does not where it is wrong."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, note, settings
from hypothesis import strategies as st
from torch import nn

from compressor.core.groups import ChannelGroup, GroupMember, Role, TensorAxis
from compressor.core.plan import GroupPlan, PruningPlan
from compressor.graph.engine import find_groups
from compressor.surgery.check import CutDoesNotRun, Reference, ShapeChanged
from compressor.surgery.expand import expand
from exporters.signature import ExampleInputs
from tests import networks
from tests.networks import Chain, images, seeded
from tests.surgery.generated import network
from tests.surgery.properties import (
    cutting_differs_from_masking,
    find,
    kept_sets,
    removing_zeros_changes_something,
)


def inputs_of(model, tensor=None):
    return ExampleInputs.of(images() if tensor is None else tensor, model)


def halves(groups):
    return {group.name: range(0, group.n_channels, 2) for group in groups}


def plan_of(groups, keep, model):
    cuts, attributes = expand(groups, keep, model)
    kept = {group.name: GroupPlan(group.n_channels, tuple(keep[group.name])) for group in groups if group.name in keep}
    return PruningPlan("l1", {}, "local", {"macs": 0.5}, 0, 0, kept, cuts, attributes, (2, 1), (2, 1))


@settings(max_examples=70, deadline=None)
@given(r=st.randoms(use_true_random=False))
def test_cutting_equals_masking_on_any_network(r):
    """The graph must be right by itself: no trial may find that a cut network computes something else."""
    model, x, text = network(r)
    note(text)
    found = find(model, x)
    assert found.groups and not found.wrong
    assert not cutting_differs_from_masking(found, kept_sets(found.groups, r))


@settings(max_examples=30, deadline=None)
@given(r=st.randoms(use_true_random=False))
def test_removing_channels_that_were_zero_changes_nothing(r):
    model, x, text = network(r)
    note(text)
    groups = find(model, x).groups
    assert not removing_zeros_changes_something(model, x, groups, kept_sets(groups, r))


def wrong(group, role, change):
    """The group with its first member of this role changed (or dropped where `change` gives None)."""
    members = list(group.members)
    i = next(i for i, member in enumerate(members) if member.role is role)
    changed = change(members[i])
    members[i : i + 1] = [changed] if changed else []
    return replace(group, members=tuple(members))


def reversed_axes(member):
    return replace(member, axes=tuple(replace(axis, channel=axis.channel[::-1]) for axis in member.axes))


def reversed_everywhere(member):
    return replace(reversed_axes(member), channel=member.channel[::-1])


class TestWrongGroupsAreFound:
    @pytest.mark.parametrize("role", [Role.PRODUCER, Role.CONSUMER, Role.CHANNELWISE])
    @pytest.mark.parametrize("change", [reversed_axes, reversed_everywhere, lambda member: None])
    def test_a_permuted_map_and_a_missing_layer(self, role, change):
        model = seeded(networks.Residual)
        inputs = inputs_of(model)
        stream = find_groups(model, inputs)[0][0]
        keep = {"stem": [0, 1, 5]}
        assert Reference(model, inputs).compare([stream], keep).equal
        try:
            assert not Reference(model, inputs).compare([wrong(stream, role, change)], keep).equal
        except CutDoesNotRun:
            assert change(stream.members[0]) is None  # only what is missing makes other shapes

    @pytest.mark.parametrize("norm", [nn.GroupNorm(4, 8), nn.GroupNorm(1, 8), networks.LayerNorm2d(8)])
    def test_permuted_weights_of_a_norm_over_channels(self, norm):
        model = seeded(lambda: Chain(norm))
        inputs = inputs_of(model)
        groups, _ = find_groups(model, inputs)
        keep = {"stem": range(groups[0].n_channels // 2)}
        assert Reference(model, inputs).compare(groups[:1], keep).equal
        assert not Reference(model, inputs).compare([wrong(groups[0], Role.CHANNELWISE, reversed_axes)], keep).equal

    def test_where_the_channels_hardly_move_the_outputs(self):
        """Layer scales start at 1e-6 in ConvNeXt; a wrong index map in their branch must show all the same."""
        model = seeded(networks.Residual)
        with torch.no_grad():
            model.conv4.weight.mul_(1e-6)
        inputs = inputs_of(model)
        inner = next(group for group in find_groups(model, inputs)[0] if group.name == "conv3")
        keep = {"conv3": [0, 1]}
        right = Reference(model, inputs).compare([inner], keep)
        assert right.equal and right.effect_rel < 1e-4
        assert not Reference(model, inputs).compare([wrong(inner, Role.CONSUMER, reversed_axes)], keep).equal

    def test_what_reaches_an_output_changes_its_shape(self):
        model, eight = nn.Sequential(nn.Linear(6, 8)), tuple(range(8))
        axes = TensorAxis("0.weight", 0, eight, eight), TensorAxis("0.bias", 0, eight, eight)
        group = ChannelGroup("0", 8, (GroupMember("0", "Linear", Role.PRODUCER, eight, eight, axes),))
        with pytest.raises(ShapeChanged, match=r"an output of shape \(2, 8\) becomes \(2, 3\)"):
            Reference(model, inputs_of(model, torch.randn(2, 6))).compare([group], {"0": [0, 1, 2]})


class TestReference:
    def test_the_model_is_left_as_it_was(self):
        model = seeded(networks.Residual).train()
        before, rng = copy.deepcopy(model.state_dict()), torch.get_rng_state()
        inputs = inputs_of(model)
        groups, _ = find_groups(model, inputs)
        Reference(model, inputs).compare(groups, halves(groups))
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
        assert model.training and torch.equal(torch.get_rng_state(), rng)
        assert all(parameter.dtype is torch.float32 for parameter in model.parameters())

    def test_a_dtype_written_into_forward(self):
        class Single(nn.Sequential):
            def forward(self, x):
                return super().forward(x.to(torch.float32))

        model = Single(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        inputs = inputs_of(model, torch.randn(2, 6))
        groups, _ = find_groups(model, inputs)
        difference = Reference(model, inputs).compare(groups, {"0": [0, 3]})
        assert difference.equal and difference.dtype == "float32"

    def test_what_forward_keeps_and_what_it_draws(self):
        class Sampling(nn.Module):
            def __init__(self):
                super().__init__()
                self.encode, self.latent = nn.Linear(6, 8), nn.Linear(8, 4)
                self.decode, self.out = nn.Linear(4, 8), nn.Linear(8, 6)

            def forward(self, x):
                self.last = torch.relu(self.encode(x))
                latent = self.latent(self.last)
                return self.out(torch.relu(self.decode(latent + torch.randn_like(latent))))

        model = Sampling()
        model(torch.randn(2, 6))  # leaves a tensor with a history, which deepcopy refuses
        inputs = inputs_of(model, torch.randn(2, 6))
        groups = [group for group in find_groups(model, inputs)[0] if group.name in ("encode", "decode")]
        assert Reference(model, inputs).compare(groups, halves(groups)).equal

    def test_not_a_number_is_no_agreement(self):
        model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        with torch.no_grad():
            model[0].weight[0, 0] = float("nan")
        inputs = inputs_of(model, torch.randn(2, 6))
        groups, _ = find_groups(model, inputs)
        assert not Reference(model, inputs).compare(groups, {"0": [0, 1]}).equal
