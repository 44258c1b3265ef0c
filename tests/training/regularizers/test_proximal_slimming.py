import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compressor.core.errors import InvalidOption, UnsupportedModel
from compressor.core.groups import ChannelGroup, GroupMember, Role, TensorAxis
from compressor.training.regularizers.proximal_slimming import ProximalSlimming


def one_norm(scales, n_norms=1):
    """A model of batch norms, all of one group, in double precision."""
    n = len(scales)
    model = nn.Sequential(*(nn.BatchNorm2d(n) for _ in range(n_norms))).double()
    for norm in model:
        norm.weight.data = torch.tensor(scales, dtype=torch.float64)
    every = tuple(range(n))
    members = [
        GroupMember(
            str(i), "BatchNorm2d", Role.CHANNELWISE, every, every, (TensorAxis(f"{i}.weight", 0, every, every),)
        )
        for i in range(n_norms)
    ]
    return model, [ChannelGroup("conv", n, tuple(members))]


def descend(nets, hook, model, slope, lr, n_steps, each=lambda: None):
    """Plain gradient descent on the scales of the first norm with this slope(gamma), and the hook after each step."""
    gamma = model[0].weight
    for step in range(n_steps):
        gamma.data -= lr * slope(gamma.data)
        hook.after_step(nets.moment(step, lr=lr))
        each()


@settings(deadline=None, max_examples=6)
@given(st.integers(0, 1000), st.floats(0.01, 0.5), st.floats(0.5, 5))
def test_comes_to_rest_where_the_quadratic_says(nets, seed, strength, beta):
    """L = h (gamma - c)^2 / 2.

    With e = h beta / (h + beta): xi = S(c, strength / e), gamma = (h c + beta xi) / (h + beta).
    """
    generator = torch.Generator().manual_seed(seed)
    h = 0.5 + 2.5 * torch.rand(50, generator=generator, dtype=torch.float64)
    c = 2 * torch.rand(50, generator=generator, dtype=torch.float64) - 1
    model, groups = one_norm([0.5] * 50)
    hook = ProximalSlimming(strength, beta).attach(model, groups, seed=0, n_images=1)
    descend(nets, hook, model, lambda gamma: h * (gamma - c), 0.3, 800)
    limit = strength / (h * beta / (h + beta))
    xi = c.sign() * (c.abs() - limit).clamp_min(0)
    found = hook.state()["xi"]
    assert torch.allclose(found, xi, rtol=0, atol=1e-8)
    assert torch.allclose(model[0].weight, (h * c + beta * xi) / (h + beta), rtol=0, atol=1e-8)
    assert not found[c.abs() < limit - 1e-6].any()  # exactly 0


def test_two_cases_by_hand(nets):
    # h = 1, strength 0.05, beta 5: e = 5/6, the threshold on c is 0.06.
    model, groups = one_norm([0.5, 0.5])
    hook = ProximalSlimming(0.05, 5.0).attach(model, groups, seed=0, n_images=1)
    descend(nets, hook, model, lambda gamma: gamma - torch.tensor([0.02, 0.3], dtype=torch.float64), 0.5, 400)
    assert hook.state()["xi"].tolist() == pytest.approx([0, 0.24]) and hook.state()["xi"][0] == 0
    assert model[0].weight.tolist() == pytest.approx([0.02 / 6, 0.25])


@settings(deadline=None, max_examples=6)
@given(st.integers(0, 1000), st.floats(0.01, 0.5), st.floats(0.5, 5))
def test_stationary_points_are_those_of_l1(nets, seed, strength, beta):
    """Where xi is not 0 the loss pulls with the strength and gamma is strength / beta out; where it is 0, no harder."""
    c = 2 * torch.rand(50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1
    model, groups = one_norm([0.5] * 50)
    hook = ProximalSlimming(strength, beta).attach(model, groups, seed=0, n_images=1)

    def slope(gamma):
        return torch.tanh(3 * (gamma - c)) + 0.5 * (gamma - c)

    descend(nets, hook, model, slope, 0.2, 1200)
    gamma, xi = model[0].weight.detach(), hook.state()["xi"]
    alive = xi != 0
    assert torch.allclose((gamma - xi)[alive], (strength / beta * xi.sign())[alive], rtol=0, atol=1e-7)
    assert torch.allclose(slope(gamma)[alive], -(strength * xi.sign())[alive], rtol=0, atol=1e-7)
    assert torch.allclose(slope(gamma)[~alive].abs(), (beta * gamma.abs())[~alive], rtol=0, atol=1e-7)
    assert (beta * gamma.abs() <= strength + 1e-7)[~alive].all()
    assert alive.any()


def test_one_step_by_hand(nets):
    # alpha = 10, beta = 30: gamma = (10 * 0.8 + 30) / 40 = 0.95, then xi = (10 + 30 * 0.95) / 40 = 0.9625 less 2 / 40.
    model, groups = one_norm([1.0])
    hook = ProximalSlimming(strength=2.0, beta=30.0).attach(model, groups, seed=0, n_images=1)
    model[0].weight.data.fill_(0.8)
    hook.after_step(nets.moment(lr=0.1))
    assert model[0].weight.item() == pytest.approx(0.95) and hook.state()["xi"].item() == pytest.approx(0.9125)


@given(st.floats(0.01, 1), st.floats(0.1, 100), st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1))
def test_the_first_update_minimises_the_linear_model(nets, lr, beta, gamma, xi, slope):
    """gamma+ = (alpha gamma + beta xi - slope) / (alpha + beta), with plain gradient descent of step 1 / alpha."""
    model, groups = one_norm([xi])
    hook = ProximalSlimming(0.1, beta).attach(model, groups, seed=0, n_images=1)
    model[0].weight.data.fill_(gamma - lr * slope)
    hook.after_step(nets.moment(lr=lr))
    expected = (gamma / lr + beta * xi - slope) / (1 / lr + beta)
    assert model[0].weight.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_without_slope_gamma_shrinks_by_a_constant_factor_and_never_grows_back(nets):
    model, groups = one_norm([0.0])
    hook = ProximalSlimming(0.1, 100.0).attach(model, groups, seed=0, n_images=1)
    model[0].weight.data.fill_(1e-4)  # strength / (alpha + beta) is 9e-4: xi stays 0
    descend(nets, hook, model, torch.zeros_like, 0.1, 5)
    assert hook.state()["xi"].item() == 0
    assert model[0].weight.item() == pytest.approx(1e-4 * (10 / 110) ** 5)


def test_the_objective_never_grows(nets):
    strength, beta, h = 0.05, 3.0, torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    c = torch.tensor([0.4, -0.3, 0.01], dtype=torch.float64)
    model, groups = one_norm([0.5, 0.5, 0.5])
    hook = ProximalSlimming(strength, beta).attach(model, groups, seed=0, n_images=1)
    values = []

    def measure():
        gamma, xi = model[0].weight.detach(), hook.state()["xi"]
        loss = 0.5 * h * (gamma - c) ** 2
        values.append(float((loss + strength * xi.abs() + beta / 2 * (gamma - xi) ** 2).sum()))

    descend(nets, hook, model, lambda gamma: h * (gamma - c), 0.4, 300, measure)  # 1 / 0.4 > 2
    assert all(after <= before + 1e-14 for before, after in pairwise(values))


def test_more_strength_never_means_fewer_zeros(nets):
    c = torch.linspace(-0.5, 0.5, 21, dtype=torch.float64)
    n_zeros = []
    for strength in (0.01, 0.05, 0.1, 0.2, 0.4):
        model, groups = one_norm([0.5] * 21)
        hook = ProximalSlimming(strength, 10.0).attach(model, groups, seed=0, n_images=1)
        descend(nets, hook, model, lambda gamma: gamma - c, 0.3, 400)
        n_zeros.append(int((hook.state()["xi"] == 0).sum()))
    assert n_zeros == sorted(n_zeros) and n_zeros[0] < n_zeros[-1]


def test_on_the_way_both_move_with_a_smaller_step(nets):
    """A constant slope g far from 0: gamma and xi both fall by lr (g + strength) / (2 + lr beta) a step."""
    model, groups = one_norm([1000.0])
    hook = ProximalSlimming(strength=0.5, beta=20.0).attach(model, groups, seed=0, n_images=1)
    descend(nets, hook, model, lambda gamma: torch.full_like(gamma, 0.3), 0.1, 200)
    before = model[0].weight.item(), hook.state()["xi"].item()
    descend(nets, hook, model, lambda gamma: torch.full_like(gamma, 0.3), 0.1, 10)
    for old, new in zip(before, (model[0].weight.item(), hook.state()["xi"].item()), strict=True):
        assert old - new == pytest.approx(10 * 0.1 * 0.8 / 4, rel=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-1, 1), min_size=3, max_size=3), st.floats(0.01, 1))
def test_a_coupled_channel_is_thresholded_by_its_length(nets, scales, strength):
    """The map of a step without loss, against the best vector by its definition."""
    model, groups = one_norm([1.0], n_norms=3)
    for norm, scale in zip(model, scales, strict=True):
        norm.weight.data.fill_(scale)
    hook = ProximalSlimming(strength, 1.0).attach(model, groups, seed=0, n_images=1)
    hook.after_step(nets.moment(lr=1.0))  # gamma = xi = scales, threshold strength / 2
    v, t = torch.tensor(scales, dtype=torch.float64), strength / 2
    xi = hook.state()["xi"]
    length = v.norm()
    assert torch.allclose(xi, v * (1 - t / length) if length > t else torch.zeros(3, dtype=torch.float64), atol=1e-12)
    assert bool(xi.any()) == bool(length > t)


def test_scales_of_a_coupled_channel_reach_zero_at_once_or_one_by_one(nets):
    for together in (True, False):
        model, groups = one_norm([1.0, 1.0], n_norms=2)
        model[1].weight.data = torch.tensor([0.05, 1.0], dtype=torch.float64)
        hook = ProximalSlimming(0.2, 1.0, together=together).attach(model, groups, seed=0, n_images=1)
        hook.after_step(nets.moment(lr=1.0))  # threshold 0.1
        assert bool(hook.state()["xi"][2] == 0) is not together
        assert (hook.channels()["conv"] > 0).all()


def test_one_norm_is_the_same_together_or_not(nets):
    found = []
    for together in (True, False):
        model, groups = one_norm([0.5, -0.02, 0.3])
        hook = ProximalSlimming(0.1, 10.0, together=together).attach(model, groups, seed=0, n_images=1)
        descend(nets, hook, model, lambda gamma: 0.1 * gamma, 0.1, 20)
        found.append(hook.state()["xi"])
    assert torch.allclose(*found, atol=1e-15)


@pytest.mark.parametrize("name", ["normed", "depthwise", "concat"])
def test_trained_networks_end_with_exact_zeros_in_every_norm_of_a_channel(nets, name):
    model, groups = nets.build(name)
    plugin = ProximalSlimming(strength=8.0, beta=10.0)
    hook = plugin.attach(model, groups, seed=0, n_images=10)
    nets.train(model, hook, nets.optimizer_of(model), range(16))
    found = hook.channels()
    assert 0 < hook.sparsity() < 1
    assert hook.sparsity() == sum(int((each == 0).sum()) for each in found.values()) / sum(map(len, found.values()))
    hook.finish()
    parameters = dict(model.named_parameters())
    for group in (group for group in groups if group.name in found):
        assert (found[group.name] > 0).any()
        for member in (each for each in group.members if each.kind == "BatchNorm2d"):
            axis = member.axes[0]
            scales = parameters[axis.tensor].detach()[list(axis.position)]
            assert torch.equal(scales == 0, (found[group.name] == 0)[list(axis.channel)])
    assert all(torch.equal(found[each], hook.channels()[each]) for each in found if each not in hook.emptied)


def test_zeroed_channels_say_nothing_but_a_constant(nets):
    """What enters the norm of a channel that leaves does not matter any more."""
    model, groups = nets.build("normed")
    hook = ProximalSlimming(strength=8.0, beta=10.0).attach(model, groups, seed=0, n_images=10)
    nets.train(model, hook, nets.optimizer_of(model), range(16))
    hook.finish()
    model.eval()
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    before = model(images)
    for group, makers in (("stem", ("stem", "conv2", "conv4")), ("conv1", ("conv1",)), ("conv3", ("conv3",))):
        gone = hook.channels()[group] == 0
        for layer in makers:
            model.get_submodule(layer).weight.data[gone] += 1.0
    assert torch.equal(model(images), before)


def test_a_group_driven_to_nothing_keeps_its_strongest_channel(nets):
    model, groups = one_norm([0.3, -0.5, 0.1], n_norms=2)
    hook = ProximalSlimming(strength=50.0, beta=1.0).attach(model, groups, seed=0, n_images=1)
    assert hook.emptied == () and hook.sparsity() == 0
    hook.after_step(nets.moment(lr=0.1))
    assert not hook.state()["xi"].any() and hook.emptied == ("conv",) and hook.sparsity() == pytest.approx(2 / 3)
    gamma = model[0].weight.detach().clone()
    hook.finish()
    assert model[0].weight.tolist() == model[1].weight.tolist() == [0, gamma[1].item(), 0]
    assert hook.channels()["conv"].tolist() == pytest.approx([0, abs(gamma[1].item()), 0])
    assert hook.emptied == ("conv",)


def test_no_learning_rate_no_change(nets):
    model, groups = one_norm([0.3, -0.5])
    hook = ProximalSlimming().attach(model, groups, seed=0, n_images=1)
    hook.after_step(nets.moment(lr=0.0))
    assert model[0].weight.tolist() == hook.state()["xi"].tolist() == [0.3, -0.5]


def test_starts(nets):
    model, groups = nets.build("concat")
    as_found = ProximalSlimming().attach(model, groups, seed=0, n_images=10)
    assert torch.equal(as_found.state()["xi"], model.bn.weight)
    anew = [ProximalSlimming(initial_scale=0.5).attach(model, groups, seed=seed, n_images=10) for seed in (0, 0, 1)]
    assert model.bn.weight.tolist() == [0.5] * 15
    first, again, other = (hook.state()["xi"] for hook in anew)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert 0.47 <= first.min() < 0.5 < first.max() <= 0.53


def test_channels_outside_the_groups_stay(nets):
    model, groups = nets.build("concat")
    before = model.bn.weight.detach().clone()
    hook = ProximalSlimming(strength=500.0).attach(model, [nets.named(groups, "b")], seed=0, n_images=10)
    hook.after_step(nets.moment())
    hook.finish()
    assert torch.equal(model.bn.weight[:4], before[:4]) and torch.equal(model.bn.weight[10:], before[10:])
    assert int((model.bn.weight[4:10] != 0).sum()) == 1


def test_bad_input(nets):
    for option, value in (("strength", 0.0), ("beta", -1.0), ("initial_scale", math.inf)):
        with pytest.raises(InvalidOption, match=f"proximal_slimming: `{option}` must be a finite number above 0"):
            ProximalSlimming(**{option: value})
    model, groups = nets.build("flattened")
    with pytest.raises(UnsupportedModel, match="proximal_slimming: a group must have a norm"):
        ProximalSlimming().attach(model, groups, seed=0, n_images=10)
