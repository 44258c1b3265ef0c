import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compressor.core.errors import InvalidOption, UnsupportedModel
from compressor.core.groups import ChannelGroup, GroupMember, Role, TensorAxis
from compressor.training.regularizers.orthoreg import NO_MATRIX, Filters, OrthoReg, distance, round_ratio


def orthonormal(n, m, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(m, m, generator=generator, dtype=torch.float64))[0][:n]


def attached(plugin, module, axis=0):
    """The hook on a network of one layer, all of whose channels are a group."""
    model = nn.Sequential(module)
    n_channels = module.weight.shape[axis]
    every = tuple(range(n_channels))
    places = TensorAxis("0.weight", axis, every, every)
    group = ChannelGroup("0", n_channels, (GroupMember("0", "Conv2d", Role.PRODUCER, every, every, (places,)),))
    return plugin.attach(model, [group], seed=0, n_images=1)


def test_by_hand():
    # M M^T = [[1, 1], [1, 4]]: less I, |0| + |1| + |1| + |3|.
    assert distance(torch.tensor([[[1.0, 0.0, 0.0], [1.0, 1.0, 2.0**0.5]]])).item() == pytest.approx(5)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 1000))
def test_zero_for_orthonormal_rows_or_columns_and_the_same_in_any_order_and_sign(n, m, seed):
    # An n-row piece of an orthogonal matrix if n <= m, else its transpose: columns are orthonormal.
    matrix = orthonormal(n, m, seed) if n <= m else orthonormal(m, n, seed).mT
    assert distance(matrix[None]).item() == pytest.approx(0, abs=1e-10)
    generator = torch.Generator().manual_seed(seed)
    other = torch.randn(n, m, generator=generator, dtype=torch.float64)
    moved = other[torch.randperm(n, generator=generator)] * (1 - 2 * torch.randint(2, (n, 1), generator=generator))
    assert distance(moved[None]).item() == pytest.approx(distance(other[None]).item())
    assert distance(1.5 * matrix[None]).item() == pytest.approx(1.25 * min(n, m))  # 1.5^2 - 1 on the diagonal


def test_penalty_of_two_layers_is_weighted_by_the_roots_of_their_smaller_sides(nets):
    model, groups = nets.build("flattened")  # conv: 6 by 27 and bias; fc1: 10 by 96 and bias
    penalty = OrthoReg(strength=0.5).attach(model, groups, seed=0, n_images=1).penalty(nets.moment())
    conv = torch.cat([model.conv.weight.flatten(1), model.conv.bias[:, None]], 1)
    fc1 = torch.cat([model.fc1.weight, model.fc1.bias[:, None]], 1)
    parts = [(each @ each.T - torch.eye(len(each))).abs().sum() for each in (conv, fc1)]
    roots = math.sqrt(6), math.sqrt(10)
    expected = 0.5 * (roots[0] * parts[0] + roots[1] * parts[1]) / sum(roots)
    assert penalty.item() == pytest.approx(expected.item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(penalty, [model.conv.weight])
    assert gradient.abs().sum() > 0


def test_each_layer_once_also_where_several_groups_or_names_lead_to_it(nets):
    model, groups = nets.build("normed")
    plugin = OrthoReg()
    once = plugin.attach(model, groups, seed=0, n_images=1).penalty(nets.moment())
    twice = plugin.attach(model, [*groups, *groups], seed=0, n_images=1).penalty(nets.moment())
    assert once.item() == pytest.approx(twice.item())
    tied, tied_groups = nets.build("tied")
    hook = plugin.attach(tied, tied_groups, seed=0, n_images=1)
    n_layers = len({id(layer.weight) for layer in (tied.fc1, tied.fc2, tied.fc3, tied.fc4)})
    assert len(hook._weighted) == n_layers == 3


def test_more_filters_than_entries():
    """Five filters of four entries cannot be orthonormal; their columns can."""
    conv = nn.Conv2d(1, 5, 2, bias=False)
    conv.weight.data = orthonormal(4, 5).mT.float().reshape(5, 1, 2, 2)
    assert attached(OrthoReg(), conv).penalty(None).item() == pytest.approx(0, abs=1e-5)


def test_blocks_of_a_grouped_convolution_are_apart():
    """The same filters in each block would be at an angle of 0, but they read other channels."""
    conv = nn.Conv2d(4, 4, 1, groups=2, bias=False)
    conv.weight.data = torch.eye(2).repeat(2, 1).view(4, 2, 1, 1)
    assert attached(OrthoReg(), conv).penalty(None).item() == 0


def test_transposed_convolutions_have_their_filters_on_the_second_axis():
    conv = nn.ConvTranspose2d(6, 4, 1, groups=2, bias=True)  # (in, out / groups, 1, 1)
    matrices = Filters(conv.weight, conv.bias, 1, 2).matrices()
    assert matrices.shape == (2, 2, 4)
    assert torch.equal(matrices[1, 0, :3], conv.weight[3:, 0, 0, 0]) and matrices[1, 1, 3] == conv.bias[3]
    plain = nn.ConvTranspose2d(3, 2, 2, bias=False)
    assert torch.equal(Filters(plain.weight, None, 1, 1).matrices()[0, 1], plain.weight[:, 1].flatten())


def test_descent_makes_filters_orthonormal(nets):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3, bias=False)
    hook = attached(OrthoReg(strength=1.0), conv)
    first = hook.penalty(None).item()
    for step in range(300):
        (gradient,) = torch.autograd.grad(hook.penalty(None), [conv.weight])
        conv.weight.data -= 0.02 * 0.98**step * gradient
    rows = conv.weight.detach().flatten(1)
    assert hook.penalty(None).item() < 0.02 * first
    assert torch.allclose(rows @ rows.T, torch.eye(4), atol=0.02)


@given(st.floats(0, 1), st.integers(1, 20))
def test_rounds_remove_the_ratio_in_all(ratio, n_rounds):
    left = 1.0
    for number in range(1, n_rounds + 1):
        share = round_ratio(ratio, number, n_rounds)
        assert 0 <= share <= 1
        left *= 1 - share
    assert left == pytest.approx(1 - ratio, abs=1e-9)


def test_says_nothing_of_single_channels(nets):
    model, groups = nets.build("normed")
    hook = OrthoReg().attach(model, groups, seed=0, n_images=1)
    assert not hasattr(hook, "channels") and hook.sparsity() is None and hook.state() == {}


def test_bad_input(nets):
    for strength in (0.0, math.inf):
        with pytest.raises(InvalidOption, match="orthoreg: `strength` must be"):
            OrthoReg(strength)
    with pytest.raises(InvalidOption, match="`ratio` must be from 0 to 1"):
        round_ratio(1.5, 1, 2)
    for number in (0, 3):
        with pytest.raises(InvalidOption, match="`number` must be a round from 1 to 2"):
            round_ratio(0.5, number, 2)
    model, groups = nets.build("normed")
    model.conv1.weight.requires_grad_(False)
    assert OrthoReg().attach(model, groups, seed=0, n_images=1).left_alone == {"conv1": NO_MATRIX}
    model.requires_grad_(False)
    with pytest.raises(UnsupportedModel, match=r"orthoreg: a trained weight must make.*Set requires_grad"):
        OrthoReg().attach(model, groups, seed=0, n_images=1)
