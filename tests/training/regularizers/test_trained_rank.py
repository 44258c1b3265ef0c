import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from compressor.core.errors import InvalidOption, UnsupportedModel, WeightsMismatch
from compressor.decompositions.decompose import decompose
from compressor.training.hooks import Moment
from compressor.training.regularizers.trained_rank import PLUGIN, TrainedRankPruning

N_STEPS = 12
IMAGES = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(16) % 4


def network(seed=0):
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3, padding=1, groups=2, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Conv2d(12, 12, 1),
            nn.ReLU(),
            nn.Conv2d(12, 12, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(12, 12, 3, groups=12, bias=False),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(12, 4),
        )


def moment(step):
    return Moment(step=step, n_steps=N_STEPS, n_per_epoch=4, lr=0.05)


def attach(model, **options):
    return TrainedRankPruning(**options).attach(model, [], seed=0, n_images=len(IMAGES))


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def train(model, hook, optimizer, steps=range(N_STEPS), watch=lambda step: None):
    for step in steps:
        watch(step)
        loss = functional.cross_entropy(model(IMAGES), LABELS)
        optimizer.zero_grad()
        loss.backward()
        hook.before_step(moment(step))
        optimizer.step()
        hook.after_step(moment(step))


def n_singular_values(weight):
    """Of a channel-wise view, those that are more than rounding."""
    singular = torch.linalg.svdvals(weight.detach().flatten(1))
    return int((singular > 1e-5 * singular[0]).sum())


def test_layers_by_default():
    # Not the first, not the 1x1, not the depthwise one, whose matrices have one row.
    assert set(attach(network()).ranks) == {"2", "7"}


def test_layers_that_are_named():
    assert set(attach(network(), layers=("0", "5")).ranks) == {"0", "5"}


def test_layers_that_somebody_listens_to_are_cut_too():
    model = network()
    model[7].register_forward_hook(lambda *_: None)
    assert set(attach(model).ranks) == {"2", "7"}


def test_forward_passes_see_low_ranks_every_so_many_steps():
    model = network()
    hook = attach(model, energy=0.6, every=4)
    seen, said = [], []

    def watch(step):
        seen.append(n_singular_values(model[7].weight))
        said.append(hook.ranks["7"])

    train(model, hook, sgd(model), watch=watch)
    assert [seen[step] for step in (0, 4, 8)] == [said[step] for step in (0, 4, 8)]
    assert max(said) < 12 == min(seen[step] for step in (1, 2, 3, 5, 6, 7, 9, 10, 11))


def test_the_cut_keeps_the_energy_and_no_more():
    model, original = network(), network()
    hook = attach(model, energy=0.6)
    squares = torch.linalg.svdvals(original[7].weight.detach().flatten(1)).square()
    rank = hook.ranks["7"]
    assert squares[:rank].sum() >= 0.6 * squares.sum() > squares[: rank - 1].sum()
    lost = (original[7].weight - model[7].weight).detach().square().sum()
    torch.testing.assert_close(lost, squares[rank:].sum())
    assert torch.equal(original[0].weight, model[0].weight)


def test_the_gradient_gets_the_nuclear_norms_in_the_steps_after_cuts_only():
    model = network()
    hook = attach(model, energy=0.6, every=3, nuclear=0.25)
    for step in range(7):
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        hook.before_step(moment(step))
        added = model[7].weight.grad.flatten(1)
        if step % 3:
            assert not added.any()
        else:
            singular = torch.linalg.svdvals(added)
            rank = hook.ranks["7"]
            torch.testing.assert_close(singular[:rank], torch.full((rank,), 0.25))
            assert singular[rank:].max() < 1e-5
            weight = model[7].weight.detach().flatten(1)  # the inner product with W is the nuclear norm
            torch.testing.assert_close((added * weight).sum(), 0.25 * torch.linalg.svdvals(weight).sum())
        assert not model[0].weight.grad.any()
        hook.after_step(moment(step))


def test_a_nuclear_step_lowers_the_nuclear_norm():
    model = network()
    hook = attach(model, energy=0.6, nuclear=1.0)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    hook.before_step(moment(0))
    before = torch.linalg.svdvals(model[7].weight.detach().flatten(1)).sum()
    torch.optim.SGD(model.parameters(), lr=0.01).step()
    after = torch.linalg.svdvals(model[7].weight.detach().flatten(1)).sum()
    assert float(before - after) == pytest.approx(0.01 * hook.ranks["7"], rel=1e-3)


def test_parameters_without_a_gradient_are_left_alone():
    model = network()
    hook = attach(model)
    hook.before_step(moment(0))
    assert model[7].weight.grad is None


@pytest.mark.parametrize("kind", ["channel", "spatial", "depthwise"])
def test_what_is_left_behind_is_replaced_at_the_ranks_that_were_trained(kind):
    model = network()
    hook = attach(model, kind=kind, energy=0.5, every=5)
    train(model, hook, sgd(model))
    ranks, stem = dict(hook.ranks), model[0].weight.clone()
    hook.finish()
    assert hook.ranks == ranks and torch.equal(stem, model[0].weight)
    smaller, records = decompose(model.eval(), IMAGES, kind=kind, energy=1.0, layers=list(ranks))
    assert {record.layer: record.ranks for record in records} == {name: (rank,) for name, rank in ranks.items()}
    assert any(record.kept for record in records) and max(record.relative_error for record in records) < 1e-5
    torch.testing.assert_close(smaller(IMAGES), model(IMAGES), rtol=1e-4, atol=1e-5)


def test_the_last_step_is_followed_by_no_cut_but_that_of_the_end():
    model = network()
    hook = attach(model, energy=0.5, every=4)
    train(model, hook, sgd(model))
    assert n_singular_values(model[7].weight) == 12
    hook.finish()
    assert n_singular_values(model[7].weight) == hook.ranks["7"] < 12


@pytest.mark.parametrize("stop", range(N_STEPS))
def test_going_on_after_a_stop_gives_the_same_weights(stop):
    options = {"energy": 0.7, "every": 3, "nuclear": 0.01}
    whole = network()
    hook = attach(whole, **options)
    train(whole, hook, sgd(whole))
    hook.finish()

    stopped = network()
    hook, optimizer = attach(stopped, **options), sgd(stopped)
    train(stopped, hook, optimizer, range(stop))
    saved = {name: tensor.clone() for name, tensor in hook.state().items()}
    weights, momentum = stopped.state_dict(), optimizer.state_dict()

    again = network()
    hook = attach(again, **options)
    again.load_state_dict(weights)
    hook.restore(saved)
    optimizer = sgd(again)
    optimizer.load_state_dict(momentum)
    train(again, hook, optimizer, range(stop, N_STEPS))
    hook.finish()
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in whole.state_dict().items())


def test_the_state_holds_subgradients_only_while_they_are_to_come():
    hook = attach(network())
    assert set(hook.state()) == {"2.rank", "2.subgradient", "7.rank", "7.subgradient"}
    assert all(tensor.is_contiguous() for tensor in hook.state().values())
    hook.before_step(moment(0))
    assert set(hook.state()) == {"2.rank", "7.rank"}
    assert set(attach(network(), nuclear=0.0).state()) == {"2.rank", "7.rank"}


def test_a_state_of_other_layers_is_refused():
    hook = attach(network())
    with pytest.raises(WeightsMismatch, match="of the layers 2, 7, but is not"):
        hook.restore(attach(network(), layers=("2",)).state())
    state = hook.state()
    with pytest.raises(WeightsMismatch):
        hook.restore({name: tensor for name, tensor in state.items() if name != "7.rank"})


def test_sparsity_is_the_share_of_ranks_that_are_gone():
    model = network()
    hook = attach(model, energy=0.6)
    assert hook.sparsity() == pytest.approx(1 - (hook.ranks["2"] + hook.ranks["7"]) / (6 + 12))
    assert attach(network(), energy=1.0).sparsity() == 0.0


def test_all_energy_changes_next_to_nothing():
    model, original = network(), network()
    attach(model, energy=1.0)
    torch.testing.assert_close(model[7].weight, original[7].weight)


def test_groups_are_cut_each_by_itself():
    model = network()
    hook = attach(model, energy=0.5)
    ranks = [n_singular_values(part) for part in model[2].weight.chunk(2)]
    assert max(ranks) == hook.ranks["2"] < 6


def test_layers_with_one_weight_are_cut_once():
    model = nn.Sequential(*(nn.Conv2d(6, 6, 3) for _ in range(3)))
    model[2].weight = model[1].weight
    assert set(attach(model).ranks) == {"1"}


def test_weights_in_half_precision():
    model = network().bfloat16()
    hook = attach(model, energy=0.5, nuclear=1.0)
    assert hook.state()["7.subgradient"].dtype == torch.bfloat16 and model[7].weight.dtype == torch.bfloat16
    assert hook.ranks["7"] < 12


def test_frozen_layers_are_left_alone_or_if_named_refused():
    model = network()
    model[7].weight.requires_grad_(False)
    before = model[7].weight.clone()
    assert set(attach(model).ranks) == {"2"} and torch.equal(before, model[7].weight)
    with pytest.raises(UnsupportedModel, match=r"trained_rank: 7: .*frozen"):
        attach(model, layers=("7",))


def test_nothing_to_cut_and_layers_that_cannot_be():
    with pytest.raises(UnsupportedModel, match="a kernel above 1 beside its first"):
        attach(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Linear(8, 8)))
    with pytest.raises(UnsupportedModel, match=r"trained_rank: 12: .*got Linear"):
        attach(network(), layers=("12",))
    with pytest.raises(InvalidOption, match="names in the model"):
        attach(network(), layers=("70",))


def test_weights_that_are_no_longer_finite():
    model = network()
    hook = attach(model, every=1)
    model[7].weight.data[0, 0, 0, 0] = math.nan
    with pytest.raises(UnsupportedModel, match=r"the weights of 7 must be finite numbers.*lower learning rate"):
        hook.after_step(moment(0))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("kind", "tucker2"),
        ("energy", 0.0),
        ("energy", 1.5),
        ("energy", math.nan),
        ("every", 0),
        ("nuclear", -1.0),
        ("nuclear", math.inf),
    ],
)
def test_options_out_of_range(option, value):
    with pytest.raises(InvalidOption, match=option):
        TrainedRankPruning(**{option: value})


def test_equal_options_look_equal():
    assert repr(attach(network(), every=3)) == repr(attach(network(), every=3)) != repr(attach(network(), every=4))


def test_it_is_the_plugin():
    assert PLUGIN is TrainedRankPruning and PLUGIN.needs == frozenset()
