import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.core.errors import InvalidOption, UnsupportedModel
from compressor.training.regularizers._scales import found_scales
from compressor.training.regularizers.mask_sparsity import MaskSparsity, agreed, votes

ALL = {"stem": (0, 1, 2, 3, 4, 5), "conv1": (0, 1, 2, 3, 4), "conv3": (0, 1, 2, 3, 4)}


def table(*rows):
    return torch.tensor([[mark == "x" for mark in row] for row in rows])


def test_votes_by_hand():
    every = torch.ones(3, 5, dtype=torch.bool)
    # The norms would remove 2, 3 and 3: at least two channels. All three agree on the first alone; two on three more.
    cast = table("xx...", "x.xx.", "xxx..")
    assert agreed(cast, every).tolist() == [True, True, True, False, False]
    # One norm would remove nothing: all agree on nothing, and nothing is asked for.
    assert not agreed(table("xx...", "x.xx.", "....."), every).any()
    assert agreed(table("x.x.."), every[:1]).tolist() == [True, False, True, False, False]


def test_norms_have_no_say_on_channels_that_they_do_not_see():
    sees = torch.tensor([[True, True, False], [True, True, True]])
    assert agreed(table(".x.", ".xx"), sees).tolist() == [False, True, True]


@given(st.integers(1, 4), st.integers(1, 8), st.integers(0, 10_000))
def test_what_is_agreed_is_a_level_of_votes_that_is_enough_and_no_lower(n_norms, n_channels, seed):
    cast = torch.rand(n_norms, n_channels, generator=torch.Generator().manual_seed(seed)) < 0.5
    mask = agreed(cast, torch.ones_like(cast))
    n_votes, fewest = cast.sum(0), int(cast.sum(1).min())
    assert mask.sum() >= fewest
    levels = [n_votes >= required for required in range(n_norms, 0, -1)]
    enough = next(level for level in levels if level.sum() >= fewest)
    assert torch.equal(mask, enough)


def scaled(nets):
    """Channel 0 of the stream is small in all norms, 1 in one of three; 0 and 1 of conv1 are small, none of conv3."""
    model, groups = nets.build("normed")
    model.bn.weight.data = torch.tensor([0.01, 0.02, 1.0, 1.0, 1.0, 1.0])
    model.bn2.weight.data = torch.tensor([-0.03, 1.0, 1.0, 1.0, 1.0, 1.0])
    model.bn4.weight.data = torch.tensor([0.04, 1.0, 1.0, 1.0, 1.0, 1.0])
    model.bn1.weight.data = torch.tensor([0.05, -0.06, 1.0, 1.0, 1.0])
    model.bn3.weight.data = torch.tensor([1.0, 1.0, 1.0, 1.0, -1.0])
    return model, groups


def test_the_smallest_share_of_all_scales_votes(nets):
    model, groups = scaled(nets)
    scales, _ = found_scales("test", model, groups)
    masks = votes(scales, 6 / 28)
    assert {name: mask.nonzero().flatten().tolist() for name, mask in masks.items()} == {
        "stem": [0],
        "conv1": [0, 1],
        "conv3": [],
    }
    assert not any(mask.any() for mask in votes(scales, 0.01).values())


def test_a_group_keeps_the_channel_with_the_fewest_votes_then_the_longest_scales(nets):
    model, groups = scaled(nets)
    for name, mask in votes(found_scales("test", model, groups)[0], 0.999).items():
        assert int((~mask).sum()) == 1, name
    model.bn1.weight.data = torch.tensor([0.05, -0.08, 0.06, 0.07, 0.01])
    assert votes(found_scales("test", model, groups)[0], 0.5)["conv1"].tolist() == [True, False, True, True, True]


def test_equal_scales_do_not_all_vote(nets):
    """As after initialisation, where the smallest half could be any."""
    model, groups = nets.build("normed")
    scales, _ = found_scales("test", model, groups)
    scales.write(torch.ones_like(scales.read()))
    assert sum(int(mask.sum()) for mask in votes(scales, 0.5).values()) <= 10


def test_only_what_the_mask_removes_gets_a_gradient(nets):
    model, groups = scaled(nets)
    hook = MaskSparsity(strength=0.25, ratio=6 / 28).attach(model, groups, seed=0, n_images=10)
    before = {name: torch.randn_like(parameter) for name, parameter in model.named_parameters()}
    for name, parameter in model.named_parameters():
        parameter.grad = before[name].clone()
    hook.before_step(nets.moment())
    added = {name: (parameter.grad - before[name]) for name, parameter in model.named_parameters()}
    expected = {
        "bn.weight": [0.25, 0, 0, 0, 0, 0],
        "bn2.weight": [-0.25, 0, 0, 0, 0, 0],
        "bn4.weight": [0.25, 0, 0, 0, 0, 0],
        "bn1.weight": [0.25, -0.25, 0, 0, 0],
    }
    for name, values in added.items():
        assert values.flatten().tolist() == pytest.approx(expected.get(name, [0] * values.numel()), abs=1e-6), name
        still = torch.tensor(expected.get(name, [0] * values.numel())).view_as(values) == 0
        assert torch.equal(model.get_parameter(name).grad[still], before[name][still])  # bit for bit


def test_a_given_set_is_the_mask(nets):
    model, groups = nets.build("normed")
    hook = MaskSparsity(kept={"stem": (1, 4)}).attach(model, groups, seed=0, n_images=10)
    found = hook.channels()
    assert (found["stem"] == 0).tolist() == [True, False, True, True, False, True]
    assert (found["conv1"] > 0).all() and (found["conv3"] > 0).all()
    assert hook.sparsity() == 0  # they may leave once their scales are small


def test_finish_leaves_exact_zeros_and_everything_else(nets):
    model, groups = nets.build("normed")
    hook = MaskSparsity(strength=0.05, kept={**ALL, "stem": (1, 4), "conv1": (0, 2)}).attach(
        model, groups, seed=0, n_images=10
    )
    nets.train(model, hook, nets.optimizer_of(model), range(4))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    hook.finish()
    gone = {"stem": [0, 2, 3, 5], "conv1": [1, 3, 4]}
    for name, tensor in model.state_dict().items():
        expected = before[name].clone()
        if name in ("bn.weight", "bn2.weight", "bn4.weight"):
            expected[gone["stem"]] = 0
        if name == "bn1.weight":
            expected[gone["conv1"]] = 0
        assert torch.equal(tensor, expected), name
    assert hook.sparsity() == 7 / 16
    assert {name: (each == 0).nonzero().flatten().tolist() for name, each in hook.channels().items()} == {
        **gone,
        "conv3": [],
    }


def test_a_mask_of_nothing_is_plain_training(nets):
    states = []
    for plugin in (MaskSparsity(kept=ALL), MaskSparsity(kept={})):
        model, groups = nets.build("normed")
        hook = plugin.attach(model, groups, seed=0, n_images=10)
        nets.train(model, hook, nets.optimizer_of(model), range(3))
        states.append(model.state_dict())
    model, _ = nets.build("normed")
    nets.train(model, type(hook).__mro__[2](), nets.optimizer_of(model), range(3))  # the hook that does nothing
    for state in states:
        assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


def test_masked_scales_fall_faster_than_the_same_ones_without(nets):
    lengths = []
    for kept in ({"stem": (0, 1, 2)}, {}):
        model, groups = nets.build("normed")
        hook = MaskSparsity(strength=0.5, kept=kept).attach(model, groups, seed=0, n_images=10)
        nets.train(model, hook, nets.optimizer_of(model), range(6))
        lengths.append(torch.stack([model.bn.weight, model.bn2.weight, model.bn4.weight])[:, 3:].norm().item())
    assert lengths[0] < 0.8 * lengths[1]


def test_bad_input(nets):
    for options, option in (
        ({"strength": 0.0}, "strength"),
        ({"ratio": 0.0}, "ratio"),
        ({"ratio": 1.0}, "ratio"),
        ({"kept": {"stem": ()}}, "kept"),
    ):
        with pytest.raises(InvalidOption, match=f"mask_sparsity: `{option}` must be"):
            MaskSparsity(**options)
    model, groups = nets.build("normed")
    for kept, sentence in (({"stm": (0,)}, "stem, conv1, conv3"), ({"stem": (0, 6)}, "0 to 5 of stem")):
        with pytest.raises(InvalidOption, match=sentence):
            MaskSparsity(kept=kept).attach(model, groups, seed=0, n_images=10)
    with pytest.raises(UnsupportedModel, match="mask_sparsity: a group must have a norm"):
        MaskSparsity().attach(*nets.build("flattened"), seed=0, n_images=10)
