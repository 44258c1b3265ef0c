"""What holds of every decomposition, whatever the layer's geometry."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compressor.core.errors import UnknownPlugin
from compressor.decompositions.kinds import KINDS, decomposition_of
from compressor.decompositions.layers import exact_weight, n_groups, products
from compressor.decompositions.matrices import MatrixDecomposition
from tests.decompositions.cases import full_ranks, layer_cases, seeded, separable_conv

CONVOLUTIONAL = [kind for kind in KINDS if kind != "linear"]


def weight_of(module, layer):
    """The weight that a replacement amounts to: of a copy without stride, padding and bias, on one-hot inputs.

    A kernel's worth of pixels with a one in one place gives the weight at that place, in each output channel.
    """
    bare = copy.deepcopy(module)
    for part in products(bare):
        part.bias, part.stride, part.padding = None, (1,) * len(part.kernel_size), (0,) * len(part.kernel_size)
        part.padding_mode, part.dilation = "zeros", (1,) * len(part.kernel_size)
    places = layer.in_channels * math.prod(layer.kernel_size)
    ones = torch.eye(places, dtype=layer.weight.dtype).reshape(places, layer.in_channels, *layer.kernel_size)
    found = bare(ones).reshape(places, layer.out_channels).T  # (N, C K)
    found = found.reshape(layer.out_channels, layer.groups, -1)  # (N, G, C/G K)
    group = torch.arange(layer.out_channels) // (layer.out_channels // layer.groups)
    own = torch.zeros(layer.out_channels, layer.groups, dtype=torch.bool)
    own[torch.arange(layer.out_channels), group] = True
    assert found[~own].abs().sum() < 1e-9  # no output reads another group
    return found[own].reshape(layer.weight.shape)


@pytest.mark.parametrize("kind", CONVOLUTIONAL)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_full_rank_computes_the_same(kind, data):
    layer, images = data.draw(layer_cases(dims=(2, 3) if kind == "spatial" else (1, 2, 3)))
    decomposition = decomposition_of(kind)
    assert decomposition.refusal(layer) == ""
    factors = decomposition.factor(layer)
    found = factors.replacement(full_ranks(factors))
    assert found.relative_error < 1e-12
    torch.testing.assert_close(found.module(images), layer(images), rtol=1e-10, atol=1e-10)
    assert found.module.training and all(type(part) is type(layer) for part in products(found.module))


@pytest.mark.parametrize("kind", CONVOLUTIONAL)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_the_error_is_what_the_module_lost(kind, data):
    layer, images = data.draw(layer_cases(dims=(2,)))
    decomposition = decomposition_of(kind)
    factors = decomposition.factor(layer)
    ranks = factors.bounded(tuple(data.draw(st.integers(1, s.shape[1])) for s in factors.spectra))
    found = factors.replacement(ranks)
    with torch.no_grad():
        lost = layer.weight - weight_of(found.module, layer)
        assert found.relative_error == pytest.approx(float(lost.norm() / layer.weight.norm()), abs=1e-10)
        # Whatever is lost, geometry is not: a layer with the new weight gives the replacement's numbers.
        layer.weight.sub_(lost)
        torch.testing.assert_close(found.module(images), layer(images), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", [kind for kind in CONVOLUTIONAL if issubclass(KINDS[kind], MatrixDecomposition)])
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_eckart_young_and_the_view_and_back(kind, data):
    layer, _ = data.draw(layer_cases(dims=(2,)))
    decomposition = KINDS[kind]()
    weight, groups = exact_weight(layer), n_groups(layer)
    matrices = decomposition.matrices(weight, groups)
    assert matrices.shape[1:].numel() * len(matrices) == weight.numel()
    assert torch.equal(decomposition.weight(matrices, weight.shape, groups), weight)
    assert decomposition.max_rank(layer) == min(matrices.shape[1:])

    factors = decomposition.factor(layer)
    rank = data.draw(st.integers(1, decomposition.max_rank(layer)))
    tail = torch.linalg.svdvals(matrices)[:, rank:].square().sum()
    lost = weight - weight_of(factors.replacement((rank,)).module, layer)
    assert float(lost.detach().square().sum()) == pytest.approx(float(tail), abs=1e-12)


@pytest.mark.parametrize("kind", CONVOLUTIONAL)
def test_a_weight_of_rank_one_is_kept_whole_at_rank_one(kind):
    layer = separable_conv()
    factors = decomposition_of(kind).factor(layer)
    assert [int((spectrum > 0).sum(1).max()) for spectrum in factors.spectra] == [1] * len(factors.spectra)
    found = factors.replacement((1,) * len(factors.spectra))
    assert found.relative_error < 1e-12
    assert weight_of(found.module, layer).allclose(layer.weight)


@pytest.mark.parametrize("kind", KINDS)
def test_no_rank_is_above_its_bound_or_below_one(kind):
    layer = nn.Linear(4, 6) if kind == "linear" else nn.Conv2d(4, 6, 3)
    factors = decomposition_of(kind).factor(layer)
    n = len(factors.spectra)
    highest = tuple(spectrum.shape[1] for spectrum in factors.spectra)
    assert factors.bounded((1000,) * n) == highest and factors.bounded((-3,) * n) == (1,) * n
    module = factors.replacement((1000,) * n).module
    assert max(p.shape[0] for p in module.parameters()) <= 12  # spatial: min(4 * 3, 6 * 3)


@pytest.mark.parametrize("kind", KINDS)
def test_device_type_mode_and_frozenness_are_the_layers(kind):
    layer = seeded(nn.Linear, 4, 6) if kind == "linear" else seeded(nn.Conv2d, 4, 6, 3)
    layer.bfloat16().eval().weight.requires_grad_(False)
    factors = decomposition_of(kind).factor(layer)
    state = torch.get_rng_state()
    module = factors.replacement((2,) * len(factors.spectra)).module
    assert torch.equal(state, torch.get_rng_state())
    assert not any(part.training for part in module.modules())
    assert {p.dtype for p in module.parameters()} == {torch.bfloat16}
    assert [name for name, p in module.named_parameters() if p.requires_grad] == [
        name for name, _ in module.named_parameters() if name.endswith("bias")
    ]
    assert len([name for name, _ in module.named_parameters() if name.endswith("bias")]) == 1
    (bias,) = (p for p in module.parameters() if p.requires_grad)
    assert torch.equal(bias, layer.bias) and bias is not layer.bias


@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_are_all_zero(kind):
    layer = nn.Linear(4, 6) if kind == "linear" else nn.Conv2d(4, 6, 3)
    nn.init.zeros_(layer.weight)
    factors = decomposition_of(kind).factor(layer)
    found = factors.replacement((2,) * len(factors.spectra))
    assert found.relative_error == 0.0
    given = torch.randn(2, 4) if kind == "linear" else torch.randn(2, 4, 5, 5)
    assert torch.equal(found.module(given), layer(given))


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_says_what_it_is(kind):
    plugin = KINDS[kind]
    assert plugin.name == kind and plugin.summary and plugin.paper and plugin.use_when
    assert plugin.needs == frozenset()


def test_unknown_kinds_get_a_suggestion():
    with pytest.raises(UnknownPlugin, match="Did you mean 'spatial'"):
        decomposition_of("spacial")
