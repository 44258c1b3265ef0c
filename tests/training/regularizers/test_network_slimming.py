import math

import pytest
import torch

from compressor.core.errors import InvalidOption, UnsupportedModel
from compressor.training.regularizers.network_slimming import NetworkSlimming

PENALTIES = ["l1", "lp", "transformed_l1", "mcp", "scad"]


def added(nets, plugin, model, groups):
    """{parameter: what the hook adds to a gradient of zeros}"""
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    plugin.attach(model, groups, seed=0, n_images=10).before_step(nets.moment())
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def test_l1_of_one_norm_is_the_sign_and_of_several_the_direction(nets):
    model, groups = nets.build("normed")
    model.bn1.weight.data = torch.tensor([2.0, -0.5, 1e-3, 0.0, -3.0])
    for norm, scale in ((model.bn, 2.0), (model.bn2, -3.0), (model.bn4, 6.0)):
        norm.weight.data.fill_(scale)  # a vector of length 7
    found = added(nets, NetworkSlimming(strength=0.07), model, groups)
    assert found["bn1.weight"].tolist() == pytest.approx([0.07, -0.07, 0.07, 0, -0.07])
    assert found["bn.weight"].tolist() == pytest.approx([0.02] * 6)
    assert found["bn2.weight"].tolist() == pytest.approx([-0.03] * 6)
    assert found["bn4.weight"].tolist() == pytest.approx([0.06] * 6)
    others = [
        name for name in found if name not in {"bn.weight", "bn1.weight", "bn2.weight", "bn3.weight", "bn4.weight"}
    ]
    assert all(not found[name].any() for name in others)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("name", ["normed", "concat", "depthwise", "residual"])
def test_is_the_gradient_of_the_penalty_on_lengths(nets, penalty, name):
    model, groups = nets.build(name)
    plugin = NetworkSlimming(penalty=penalty, strength=0.3, a=None if penalty in ("l1", "lp") else 4.0)
    hook = plugin.attach(model, groups, seed=0, n_images=10)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    hook.before_step(nets.moment())
    factor, rho = plugin.rho()
    parameters, total = dict(model.named_parameters()), torch.zeros(())
    for group in groups:
        if group.name in hook.left_alone:
            continue
        squares = torch.zeros(group.n_channels)
        for member in (each for each in group.members if each.kind == "BatchNorm2d"):
            axis = member.axes[0]
            squares = squares + torch.zeros(group.n_channels).index_add(
                0, torch.tensor(axis.channel), parameters[axis.tensor][list(axis.position)].square()
            )
        total = total + factor * rho.value(squares.sqrt())
    names = [name for name in parameters if "weight" in name and parameters[name].dim() == 1]
    expected = torch.autograd.grad(total, [parameters[name] for name in names], allow_unused=True)
    for name, gradient in zip(names, expected, strict=True):
        gradient = torch.zeros_like(parameters[name]) if gradient is None else gradient
        assert torch.allclose(parameters[name].grad, gradient, rtol=1e-4, atol=1e-7), name


@pytest.mark.parametrize("penalty", PENALTIES)
def test_zeros_get_no_gradient(nets, penalty):
    model, groups = nets.build("normed")
    for norm in (model.bn, model.bn1, model.bn2, model.bn3, model.bn4):
        norm.weight.data.zero_()
    assert all(not gradient.any() for gradient in added(nets, NetworkSlimming(penalty), model, groups).values())


@pytest.mark.parametrize("penalty", ["mcp", "scad"])
def test_concave_penalties_are_flat_from_one_on_unless_told_otherwise(nets, penalty):
    model, groups = nets.build("normed")
    model.bn1.weight.data = torch.tensor([2.0, 1.01, 0.9, 1e-5, -2.0])
    found = added(nets, NetworkSlimming(penalty, strength=1e-4), model, groups)["bn1.weight"].tolist()
    assert found[0] == found[1] == found[4] == 0 < found[2] < found[3] == pytest.approx(1e-4, rel=1e-3)


def test_scales_start_where_it_is_said(nets):
    model, groups = nets.build("concat")
    NetworkSlimming(initial_scale=0.5).attach(model, [nets.named(groups, "b")], seed=0, n_images=10)
    assert model.bn.weight[4:10].tolist() == [0.5] * 6 and 0.5 not in model.bn.weight[:4].tolist()


def test_training_makes_the_scales_smaller_than_without(nets):
    lengths = []
    for strength in (1e-12, 0.05):
        model, groups = nets.build("normed")
        hook = NetworkSlimming(strength=strength).attach(model, groups, seed=0, n_images=10)
        nets.train(model, hook, nets.optimizer_of(model), range(8))
        lengths.append(hook.channels())
        assert hook.state() == {}
    assert all((lengths[1][name] < lengths[0][name]).all() for name in ("stem", "conv1", "conv3"))


def test_channels_and_sparsity(nets):
    model, groups = nets.build("normed")
    hook = NetworkSlimming().attach(model, groups, seed=0, n_images=10)
    model.bn1.weight.data = torch.tensor([2.0, -0.5, 1e-4, 0.0, -3.0])
    model.bn.weight.data[0], model.bn2.weight.data[0], model.bn4.weight.data[0] = 1.0, -5.0, 7.0
    assert hook.channels()["conv1"].tolist() == pytest.approx([2, 0.5, 1e-4, 0, 3])
    assert hook.channels()["stem"][0].item() == pytest.approx(5)  # the root of (1 + 25 + 49) / 3
    assert hook.sparsity() == 2 / 16 and hook.left_alone == {} and hook.emptied == ()


def test_bad_input(nets):
    for options, option in (
        ({"penalty": "l2"}, "penalty"),
        ({"strength": 0.0}, "strength"),
        ({"strength": math.nan}, "strength"),
        ({"initial_scale": 0.0}, "initial_scale"),
        ({"penalty": "lp", "p": 2.0}, "p"),
        ({"penalty": "transformed_l1", "a": 0.0}, "a"),
        ({"penalty": "mcp", "a": 1.0}, "a"),
        ({"penalty": "scad", "a": 2.0}, "a"),
    ):
        with pytest.raises(InvalidOption, match=f"`{option}` must be"):
            NetworkSlimming(**options)
    model, groups = nets.build("flattened")
    with pytest.raises(UnsupportedModel, match="network_slimming: a group must have a norm"):
        NetworkSlimming().attach(model, groups, seed=0, n_images=10)
