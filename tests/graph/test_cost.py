"""MACs and parameters, counted by hand and predicted for other widths."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compressor.graph.cost import CostModel, group_macs, measure_cost, prunable_share
from compressor.graph.engine import find_groups
from compressor.surgery.cut import cut_copy
from compressor.surgery.expand import expand
from exporters.signature import ExampleInputs
from tests import networks
from tests.networks import Chain, images, seeded


def cost_of(model, inputs=None):
    return measure_cost(model, ExampleInputs.of(images() if inputs is None else inputs, model))


class TestByHand:
    def test_convolution_and_linear(self):
        model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 64, 5))
        cost = cost_of(model)  # images are 3x8x8; a batch of 2 counts once
        assert cost.macs == 4 * 3 * 9 * 64 + 4 * 64 * 5
        assert cost.params == 4 * 3 * 9 + 4 + 4 * 64 * 5 + 5
        assert cost.fixed_macs == 0

    def test_strides_groups_and_transposed(self):
        assert cost_of(nn.Conv2d(3, 4, 3, stride=2, padding=1)).macs == 4 * 3 * 9 * 16
        assert cost_of(nn.Conv2d(3, 6, 3, padding=1, groups=3)).macs == 6 * 9 * 64
        assert cost_of(nn.ConvTranspose2d(3, 5, 2, stride=2)).macs == 3 * 5 * 4 * 64

    def test_a_layer_called_twice_counts_twice(self):
        conv = nn.Conv2d(3, 3, 1)
        assert cost_of(nn.Sequential(conv, conv)).macs == 2 * 9 * 64

    def test_products_without_weights_are_fixed(self):
        model = seeded(networks.Attentive)
        cost = cost_of(model, torch.randn(1, 5, 6))
        assert cost.fixed_macs >= 2 * 5 * 5 * 8  # queries by keys, and the result by values
        assert cost.macs == cost.fixed_macs + round(
            sum(w.macs_per_element * torch.Size(w.shape).numel() for w in cost.weights)
        )

    def test_modes_and_hooks_are_put_back(self):
        model = seeded(networks.Residual)
        model.train()
        model.bn.eval()
        state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        cost_of(model)
        assert model.training and not model.bn.training
        assert not any(module._forward_hooks for module in model.modules())
        assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
        assert torch.backends.mha.get_fastpath_enabled()


NETWORKS = {
    "residual": networks.Residual,
    "concat": networks.Concat,
    "flattened": networks.Flattened,
    "depthwise": lambda: Chain(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8)),
    "grouped": lambda: Chain(nn.Conv2d(8, 12, 3, padding=1, groups=2), nn.GroupNorm(3, 12), out=12),
    "transposed": lambda: Chain(nn.ConvTranspose2d(8, 10, 2, stride=2), out=10),
    "shared": networks.Shared,
    "scaled": networks.Scaled,
}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    model = seeded(NETWORKS[request.param])
    inputs = ExampleInputs.of(images(), model)
    return model, inputs, find_groups(model, inputs)[0]


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_predicted_is_measured(network, data):
    model, inputs, groups = network
    keep = {
        g.name: sorted(data.draw(st.sets(st.integers(0, g.n_channels - 1), min_size=1), label=g.name)) for g in groups
    }
    small = cut_copy(model, *expand(groups, keep, model))
    measured = measure_cost(small, inputs)
    predicted = CostModel(measure_cost(model, inputs), groups).predict({name: len(kept) for name, kept in keep.items()})
    assert predicted == pytest.approx((measured.macs, measured.params))


def test_nothing_removed_is_the_whole(network):
    model, inputs, groups = network
    cost = measure_cost(model, inputs)
    assert CostModel(cost, groups).predict({}) == pytest.approx((cost.macs, cost.params))


def test_shares(network):
    model, inputs, groups = network
    cost = measure_cost(model, inputs)
    made = group_macs(groups, cost)
    assert set(made) == {group.name for group in groups} and all(macs > 0 for macs in made.values())
    assert sum(made.values()) <= cost.macs
    assert 0 < prunable_share(groups, cost) <= 1
    assert prunable_share([], cost) == 0


def test_the_share_counts_layers_that_only_read():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 5))
    inputs = ExampleInputs.of(images(), model)
    groups, _ = find_groups(model, inputs)
    assert prunable_share(groups, measure_cost(model, inputs)) == 1.0
