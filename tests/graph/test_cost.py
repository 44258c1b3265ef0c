"""MACs and parameters, counted by hand and predicted for other widths."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compressor.graph.cost import CostModel, group_macs, measure_cost, prunable_share, with_products
from compressor.graph.engine import find_groups, follow
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


class ComputedKernels(nn.Module):
    """Kernels that a second layer computes from the input (conditionally parametrised convolutions)."""

    def __init__(self):
        super().__init__()
        self.stem, self.routing, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 2), nn.Linear(8, 3)
        self.experts, self.n_out, self.n_in = nn.Parameter(torch.randn(2, 8 * 6)), 8, 6

    def forward(self, x):
        x = self.stem(x)
        kernels = self.routing(x.mean((2, 3))) @ self.experts
        kernels = kernels.view(x.shape[0] * self.n_out, self.n_in, 1, 1)
        made = nn.functional.conv2d(x.flatten(0, 1)[None], kernels, groups=x.shape[0])
        return self.head(made.view(x.shape[0], self.n_out, *x.shape[2:]).mean((2, 3)))


class OneOperator(networks.Fused):
    """Attention as PyTorch's one operator, whose head sizes of keys and values differ."""

    def __init__(self):
        super().__init__()
        self.qkv, self.proj, self.value_dim = nn.Linear(12, 3 * (4 + 4 + 5)), nn.Linear(15, 12), 5

    def forward(self, x):
        sizes = (self.head_dim, self.head_dim, self.value_dim)
        q, k, v = self.qkv(x).view(*x.shape[:2], self.n_heads, sum(sizes)).transpose(1, 2).split(sizes, -1)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, scale=0.5)
        return self.head(self.proj(mixed.transpose(1, 2).flatten(2)).mean(1))


TOKENS = torch.randn(2, 5, 12)
ATTENTION = {"attention": networks.Fused, "attention in one operator": OneOperator}
NETWORKS = {
    **ATTENTION,
    "computed kernels": ComputedKernels,
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
    inputs = ExampleInputs.of(TOKENS if request.param in ATTENTION else images(), model)
    found = follow(model, inputs)
    return model, inputs, list(found.groups), with_products(measure_cost(model, inputs), found.products)


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_predicted_is_measured(network, data):
    model, inputs, groups, cost = network
    keep = {
        g.name: sorted(data.draw(st.sets(st.integers(0, g.n_channels - 1), min_size=1), label=g.name)) for g in groups
    }
    small = cut_copy(model, *expand(groups, keep, model))
    measured = measure_cost(small, inputs)
    predicted = CostModel(cost, groups).predict({name: len(kept) for name, kept in keep.items()})
    assert predicted == pytest.approx((measured.macs, measured.params))


def test_nothing_removed_is_the_whole(network):
    _, _, groups, cost = network
    assert cost.fixed_macs == 0
    assert CostModel(cost, groups).predict({}) == pytest.approx((cost.macs, cost.params))


def test_shares(network):
    _, _, groups, cost = network
    made = group_macs(groups, cost)
    assert set(made) == {group.name for group in groups} and all(macs > 0 for macs in made.values())
    assert all(macs <= cost.macs for macs in made.values())
    assert 0 < prunable_share(groups, cost) <= 1
    assert prunable_share([], cost) == 0


def test_the_share_counts_layers_that_only_read():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 5))
    inputs = ExampleInputs.of(images(), model)
    groups, _ = find_groups(model, inputs)
    assert prunable_share(groups, measure_cost(model, inputs)) == 1.0
