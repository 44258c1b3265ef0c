import pytest
import torch

from compressor.core.errors import InvalidOption, UnsupportedModel
from compressor.training.regularizers._channels import all_weights, channel_norms
from compressor.training.regularizers.group_lasso import GroupLasso, shrinkage

NAMES = ["normed", "residual", "concat", "depthwise", "shared", "flattened"]


def test_shrinkage_by_hand():
    assert shrinkage(torch.tensor([2.0, 4.0, 3.0]), 4.0).tolist() == [16, 1, 4]
    assert shrinkage(torch.tensor([2.0, 2.0]), 4.0).tolist() == [1, 1]
    assert shrinkage(torch.tensor([2.0, 4.0, 3.0]), 0.0).tolist() == [1, 1, 1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bias", [False, True])
def test_is_the_gradient_of_weighted_squared_lengths(nets, name, bias):
    """lambda / 2 sum of s_c r_c^2 with s as it is, by autograd over the entries of each channel."""
    model, groups = nets.build(name)
    parameters = dict(model.named_parameters())
    total = torch.zeros(())
    for group in groups:
        factors = shrinkage(channel_norms(all_weights(model, group, bias)), 3.0)
        entries = [set() for _ in range(group.n_channels)]
        for axis in (axis for member in group.members for axis in member.axes):
            if axis.tensor not in parameters or (axis.tensor.endswith("bias") and not bias):
                continue
            index = torch.arange(parameters[axis.tensor].numel()).view(parameters[axis.tensor].shape)
            for position, channel in zip(axis.position, axis.channel, strict=True):
                places = index.movedim(axis.axis, 0)[position].flatten().tolist()
                entries[channel] |= {(axis.tensor, place) for place in places}
        for factor, places in zip(factors, entries, strict=True):
            for tensor in {tensor for tensor, _ in places}:
                own = [place for other, place in places if other == tensor]
                total = total + 0.05 * factor * parameters[tensor].flatten()[own].square().sum()
    expected = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    GroupLasso(strength=0.1, alpha=3.0, bias=bias).attach(model, groups, seed=0, n_images=1).before_step(nets.moment())
    for (tensor, parameter), gradient in zip(parameters.items(), expected, strict=True):
        gradient = torch.zeros_like(parameter) if gradient is None else gradient
        assert torch.allclose(parameter.grad, gradient, rtol=1e-4, atol=1e-6), tensor


def test_the_weakest_channel_decays_fastest(nets):
    """Gradient steps on the penalty alone: each channel shrinks by its own factor, and the gap opens."""
    model, groups = nets.build("flattened")
    model.conv.weight.data[2] *= 0.1
    model.fc1.weight.data.view(10, 6, 16)[:, 2] *= 0.1
    hook = GroupLasso(strength=0.01).attach(model, groups, seed=0, n_images=1)
    slices = all_weights(model, nets.named(groups, "conv"), False)
    before = channel_norms(slices)
    for _ in range(10):
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        hook.before_step(nets.moment())
        for parameter in model.parameters():
            parameter.data -= 0.1 * parameter.grad
    kept = channel_norms(slices) / before
    assert kept.argmin() == before.argmin() == 2
    # Rows of fc1 are in the group of fc1 as well, where they decay a little, too.
    assert kept[2].item() == pytest.approx((1 - 0.1 * 0.01 * 16) ** 10, rel=0.05) and kept.max() > 0.95


def test_channels_and_sparsity(nets):
    model, groups = nets.build("flattened")
    hook = GroupLasso().attach(model, groups, seed=0, n_images=1)
    assert hook.sparsity() == 0 and hook.left_alone == {}
    model.conv.weight.data[:3] *= 1e-4
    model.fc1.weight.data.view(10, 6, 16)[:, :3] *= 1e-4
    assert hook.sparsity() == 3 / 16
    found = hook.channels()["conv"]
    assert (found > 0).all() and found.mean().item() == pytest.approx(1)
    norms = channel_norms(all_weights(model, nets.named(groups, "conv"), False))
    assert torch.allclose(found, norms / norms.mean())


def test_parameters_without_a_gradient_are_left_out(nets):
    model, groups = nets.build("normed")
    model.conv1.weight.requires_grad_(False)
    hook = GroupLasso().attach(model, groups, seed=0, n_images=1)
    before = model.conv1.weight.clone()
    nets.train(model, hook, nets.optimizer_of(model), range(2))
    assert torch.equal(model.conv1.weight, before)


def test_bad_input(nets):
    for option, value in (("strength", 0.0), ("alpha", -1.0), ("alpha", float("nan"))):
        with pytest.raises(InvalidOption, match=f"group_lasso: `{option}` must be"):
            GroupLasso(**{option: value})
    with pytest.raises(UnsupportedModel, match="group_lasso: at least one group"):
        GroupLasso().attach(nets.build("normed")[0], [], seed=0, n_images=1)
