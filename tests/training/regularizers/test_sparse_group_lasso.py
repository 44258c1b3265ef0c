import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.core.errors import InvalidOption, UnsupportedModel
from compressor.training.penalties.group_l2 import GroupL2
from compressor.training.penalties.l1 import L1
from compressor.training.regularizers._channels import channel_norms, filters
from compressor.training.regularizers.sparse_group_lasso import NOT_MADE, PENALTIES, SparseGroupLasso

LINE = torch.arange(-100, 101, dtype=torch.float64) / 100


def test_the_copy_has_nothing_up_to_the_threshold_which_falls_with_beta():
    plugin = SparseGroupLasso(strength=0.1)
    for beta in (2.5, 10.0, 40.0):
        limit = math.sqrt(0.2 / beta)
        copy = plugin.prox(LINE, beta)
        assert torch.equal(copy != 0, LINE.abs() > limit) and torch.equal(copy[copy != 0], LINE[LINE.abs() > limit])


def test_other_penalties_have_their_own_maps():
    assert torch.equal(SparseGroupLasso("l1", 0.1).prox(LINE, 2.0), L1().prox(LINE, 0.05))
    scad = SparseGroupLasso("scad", 0.1).prox(LINE, 2.0)  # t = 0.05: soft up to 0.1, as it is from 0.185 on
    assert torch.equal(scad[LINE.abs() < 0.095], L1().prox(LINE, 0.05)[LINE.abs() < 0.095])
    assert torch.equal(scad[LINE.abs() > 0.185], LINE[LINE.abs() > 0.185])
    bent = SparseGroupLasso("transformed_l1", 0.1, a=1e6).prox(LINE, 2.0)
    assert torch.allclose(bent, L1().prox(LINE, 0.05), atol=1e-6)
    assert SparseGroupLasso("l1_minus_l2", 0.1).prox(torch.tensor([0.04, 0.03]), 2.0).tolist() == pytest.approx(
        [0.04, 0]
    )


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.floats(0.01, 0.5), st.floats(0.1, 50), st.floats(0.5, 20))
def test_a_step_is_the_best_by_its_definition(nets, seed, lr, beta, strength):
    """Of |V - W'|^2 / (2 eta) + 1/N (lambda sum of sqrt(n) |V_c| + beta / 2 |V - U|^2) over V, by its stationarity."""
    model, groups = nets.build("flattened", seed=seed)
    group = nets.named(groups, "conv")
    hook = SparseGroupLasso(strength=strength, beta=beta).attach(model, [group], seed=0, n_images=10)
    copy, moved = hook.state()["copy.conv.weight"].clone(), torch.randn_like(model.conv.weight)
    model.conv.weight.data = moved.clone()
    hook.after_step(nets.moment(lr=lr))
    found = model.conv.weight.detach()
    smooth = (found - moved) / lr + beta / 10 * (found - copy)
    rows, pull = found.flatten(1), smooth.flatten(1)
    limit = strength / 10 * math.sqrt(27)
    for row, slope in zip(rows, pull, strict=True):
        if row.any():
            assert torch.allclose(slope, -limit * row / row.norm(), rtol=1e-3, atol=1e-3 * (1 / lr + beta))
        else:
            assert slope.norm() <= limit * 1.001 + 1e-5 / lr
    assert torch.equal(
        hook.state()["copy.conv.weight"], SparseGroupLasso(strength=strength, beta=beta).prox(found, beta)
    )


def test_without_pull_a_step_is_the_group_soft_threshold(nets):
    """beta almost 0: the map of the l2,1 norm, for a group of one layer; an entry of lr strength / N."""
    model, groups = nets.build("flattened")
    hook = SparseGroupLasso(strength=2.0, beta=1e-9).attach(model, [nets.named(groups, "conv")], seed=0, n_images=10)
    before = model.conv.weight.detach().clone()
    hook.after_step(nets.moment(lr=0.5))
    assert torch.allclose(model.conv.weight, GroupL2().prox(before, 0.1), atol=1e-6)
    assert torch.equal(model.fc1.weight, nets.build("flattened")[0].fc1.weight)


def test_a_coupled_channel_is_thresholded_by_all_its_filters_together(nets):
    model, groups = nets.build("normed")
    stream = nets.named(groups, "stem")
    hook = SparseGroupLasso(strength=1.0, beta=1e-9).attach(model, [stream], seed=0, n_images=1)
    layers = [model.stem, model.conv2, model.conv4]
    before = torch.cat([layer.weight.detach().flatten(1) for layer in layers], 1)  # (6, 27 + 45 + 5)
    model.stem.bias = None
    hook.after_step(nets.moment(lr=0.05))
    after = torch.cat([layer.weight.detach().flatten(1) for layer in layers], 1)
    assert torch.allclose(after, GroupL2().prox(before, 0.05), atol=1e-6)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_training_ends_with_the_copy_and_exact_zeros(nets, penalty):
    model, groups = nets.build("flattened")
    beta = {"l0": 12000.0, "transformed_l1": 120.0}.get(penalty, 60.0)  # zeros up to 0.01
    hook = SparseGroupLasso(penalty, strength=0.6, beta=beta).attach(model, groups, seed=0, n_images=10)
    optimizer = nets.optimizer_of(model)
    model.train()
    for step in range(8):
        images = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        model(images).square().mean().backward()
        optimizer.step()
        hook.after_step(nets.moment(step, lr=0.05))
    hook.finish()
    state = hook.state()
    kept = {name: tensor for name, tensor in state.items() if name.startswith("copy.")}
    assert set(kept) == {"copy.conv.weight", "copy.fc1.weight"} and not hook.emptied
    for name, copy in kept.items():
        assert torch.equal(model.get_parameter(name.removeprefix("copy.")), copy)
    assert any((copy == 0).any() for copy in kept.values())


def test_with_a_large_beta_the_copy_is_the_weights(nets):
    model, groups = nets.build("flattened")
    hook = SparseGroupLasso(beta=1e12).attach(model, groups, seed=0, n_images=10)
    hook.after_step(nets.moment())
    assert torch.allclose(hook.state()["copy.conv.weight"], model.conv.weight, atol=1e-5)


def test_channels_are_the_typical_size_of_the_copy(nets):
    model, groups = nets.build("normed")
    model.conv1.weight.data[3] = 1e-3
    for layer in (model.stem, model.conv2, model.conv4):
        layer.weight.data[1] = -1e-3
    model.conv2.weight.data[2] = 1e-3  # alone: stem and conv4 still make channel 2
    hook = SparseGroupLasso(strength=0.5, beta=1e4).attach(model, groups, seed=0, n_images=10)  # up to 0.01
    found = {name: (each == 0).nonzero().flatten().tolist() for name, each in hook.channels().items()}
    assert found == {"stem": [1], "conv1": [3], "conv3": []}
    assert hook.sparsity() == 2 / 16 and hook.emptied == ()
    expected = torch.cat([hook.state()[f"copy.{name}.weight"].flatten(1) for name in ("stem", "conv2", "conv4")], 1)
    assert torch.allclose(hook.channels()["stem"], expected.square().mean(1).sqrt())


def test_a_group_driven_to_nothing_keeps_its_strongest_channel(nets):
    model, groups = nets.build("flattened")
    hook = SparseGroupLasso(strength=1e4, beta=1.0).attach(model, groups, seed=0, n_images=10_000)
    lengths = channel_norms(filters(model, groups[0]))
    assert set(hook.emptied) == {"conv", "fc1"}
    before = model.conv.weight.detach().clone()
    hook.finish()
    best = int(lengths.argmax())
    assert torch.equal(model.conv.weight[best], before[best])
    others = [channel for channel in range(6) if channel != best]
    assert not model.conv.weight[others].any() and hook.channels()["conv"].nonzero().tolist() == [[best]]


def test_beta_grows_every_so_many_epochs(nets):
    model, groups = nets.build("flattened")
    hook = SparseGroupLasso(beta=100.0, growth=1.5, every=3).attach(model, groups, seed=0, n_images=10)
    seen = []
    for epoch in range(7):
        hook.end_epoch(nets.moment(4 * epoch + 3))
        seen.append(hook.state()["beta"].item())
    assert seen == [100, 100, 150, 150, 150, 225, 225]


def test_what_is_of_no_group_is_left_alone(nets):
    model, groups = nets.build("concat")
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    hook = SparseGroupLasso(strength=100.0, beta=1.0).attach(model, [nets.named(groups, "b")], seed=0, n_images=10)
    hook.after_step(nets.moment())
    hook.finish()
    changed = [name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])]
    assert changed == ["b.weight"]


def test_a_frozen_layer_takes_its_group_out(nets):
    model, groups = nets.build("normed")
    model.conv2.weight.requires_grad_(False)
    assert SparseGroupLasso().attach(model, groups, seed=0, n_images=10).left_alone == {"stem": NOT_MADE}


def test_bad_input(nets):
    for options, option in (
        ({"penalty": "l2"}, "penalty"),
        ({"strength": 0.0}, "strength"),
        ({"beta": math.inf}, "beta"),
        ({"growth": 0.9}, "growth"),
        ({"every": 0}, "every"),
        ({"a": 0.0}, "a"),
        ({"alpha": 2.0}, "alpha"),
    ):
        with pytest.raises(InvalidOption, match=f"`{option}` must be"):
            SparseGroupLasso(**options)
    model, groups = nets.build("normed")
    with pytest.raises(InvalidOption, match="`n_images` must be at least 1"):
        SparseGroupLasso().attach(model, groups, seed=0, n_images=0)
    model.requires_grad_(False)
    with pytest.raises(UnsupportedModel, match=r"sparse_group_lasso: trained weights must make.*stem, conv1, conv3"):
        SparseGroupLasso().attach(model, groups, seed=0, n_images=10)
