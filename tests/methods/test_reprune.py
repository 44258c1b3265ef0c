import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compressor.core.errors import InvalidOption, UnsupportedModel
from compressor.core.protocols import MethodContext
from compressor.methods.reprune import RePrune


def selected(model, group, n_keep, seed=0):
    return RePrune().select(group, n_keep, MethodContext(model, seed))


def weights(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.sampled_from([(3, 3, 3), (5, 1, 1), (7,)]))
def test_one_copy_of_each_of_16_filters_that_come_4_times(hand, seed, shape):
    model, group = (hand.linear if len(shape) == 1 else hand.conv)(
        weights(seed, 16, *shape).repeat(4, *[1] * len(shape))
    )
    kept = selected(model, group, 16, seed)
    assert sorted(channel % 16 for channel in kept) == list(range(16))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.integers(2, 20), st.integers(-20, 20), st.data())
def test_scale_of_the_weights_does_not_matter(hand, seed, n, power, data):
    n_keep = data.draw(st.integers(1, n))
    weight = weights(seed, n, 3, 2, 2)
    kept = selected(*hand.conv(weight), n_keep, seed)
    assert kept == selected(*hand.conv(weight * 2.0**power), n_keep, seed)
    assert kept == sorted(set(kept)) and len(kept) == n_keep


def test_all_stay_when_all_may(hand):
    assert selected(*hand.conv(weights(0, 6, 2, 3, 3)), 6) == list(range(6))


def test_worked_by_hand_two_input_channels(hand):
    # Input channel 1 sees {0, 0, 0, 9}, input channel 2 {0, 4, 4, 4}. Two merges cost nothing in both, so h = 0 and
    # there are four clusters. All filters cover two of them. After 0, filter 3 covers both others, and the reverse;
    # after 1 or 2, which are alike, the other of the two covers nothing, so they are never kept together.
    model, group = hand.linear([[0, 0], [0, 4], [0, 4], [9, 4]])
    kept = {tuple(selected(model, group, 2, seed)) for seed in range(200)}
    assert kept == {(0, 3), (0, 1), (0, 2), (1, 3), (2, 3)}


def test_a_zero_layer_is_cut_and_long_filters_fill_up(hand):
    assert len(selected(*hand.conv(torch.zeros(8, 2, 3, 3)), 3)) == 3
    # Four alike and one long: two clusters. Both are covered by two filters, and the third is the next longest.
    model, group = hand.linear([[1.0], [1.0], [1.0], [1.0], [5.0]])
    assert {4} < set(selected(model, group, 3))


def test_coupled_producers_are_covered_together_whatever_their_scale(hand):
    # The first layer tells channels {0, 1} from {2, 3}; the second {0, 2} from {1, 3}. Only opposite corners cover all.
    model = nn.Sequential(nn.Linear(1, 4), nn.Linear(1, 4))
    model[0].weight.data = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    model[1].weight.data = torch.tensor([[0.0], [1e4], [0.0], [1e4]])
    group = hand.group(hand.producer(model, "0"), hand.producer(model, "1"))
    for seed in range(8):
        assert selected(model, group, 2, seed) in ([0, 3], [1, 2])


def test_merges_of_a_branch_are_rounded_up(hand):
    # Half of four channels leave. The first branch makes three: ceil(1.5) = 2 merges, one cluster; the last is another.
    model = nn.Sequential(nn.Linear(1, 3), nn.Linear(1, 1))
    model[0].weight.data = torch.tensor([[0.0], [1.0], [10.0]])
    group = hand.group(hand.producer(model, "0"), hand.producer(model, "1", channels=(3,)))
    assert all(3 in selected(model, group, 2, seed) for seed in range(20))


def test_a_concatenation_can_be_cut_to_any_width(hand):
    model = nn.Sequential(nn.Conv2d(2, 6, 3), nn.Conv2d(2, 2, 1))
    group = hand.group(hand.producer(model, "0"), hand.producer(model, "1", channels=(6, 7)))
    for n_keep in range(1, 9):
        assert len(selected(model, group, n_keep)) == n_keep


def test_tied_positions_have_clusters_of_their_own(hand):
    # Channel c is at positions c and c + 4; the rows say the same as the two layers above.
    model, _ = hand.linear([[0.0], [0.0], [1.0], [1.0], [0.0], [1.0], [0.0], [1.0]])
    group = hand.group(hand.producer(model, "0", channels=(0, 1, 2, 3) * 2))
    for seed in range(8):
        assert selected(model, group, 2, seed) in ([0, 3], [1, 2])


def test_ties_are_drawn_by_the_seed(hand):
    model, group = hand.conv(weights(0, 12, 3, 3, 3))
    assert selected(model, group, 4, 1) == selected(model, group, 4, 1)
    assert len({tuple(selected(model, group, 4, seed)) for seed in range(10)}) > 1


def normed(hand, *scales):
    model = nn.ModuleDict()
    groups = []
    for index, values in enumerate(scales):
        model[f"conv{index}"] = nn.Conv2d(1, 4, 1)
        model[f"bn{index}"] = nn.BatchNorm2d(4)
        model[f"bn{index}"].weight.data = torch.tensor(values)
        groups.append(hand.group(hand.producer(model, f"conv{index}"), hand.channelwise(model, f"bn{index}")))
    model["plain"] = nn.Conv2d(1, 4, 1)
    return model, [*groups, hand.group(hand.producer(model, "plain"))]


@pytest.mark.parametrize(
    ("ratio", "first", "second"),
    [
        (0.0, 0.0, 0.0),
        (0.1, 0.25, 0.0),  # the smallest scale whose share of all eight is at least 0.1 is 0.1
        (0.25, 0.5, 0.0),
        (0.5, 0.75, 0.25),
        (0.9, 0.75, 0.75),  # 0.9 of eight scales is all of them: each group keeps one channel nevertheless
    ],
)
def test_ratios_are_the_share_below_the_common_quantile(hand, ratio, first, second):
    model, groups = normed(hand, [0.1, -0.2, 0.3, 0.9], [0.4, 0.5, -0.6, 0.7])
    found = RePrune().ratios(groups, MethodContext(model), ratio)
    assert found == {"conv0": first, "conv1": second, "plain": min(ratio, 0.75)}


def test_ratios_do_not_round_up_what_floating_point_adds(hand):
    model = nn.ModuleDict({"conv": nn.Conv2d(1, 100, 1), "bn": nn.BatchNorm2d(100)})
    model["bn"].weight.data = torch.linspace(0.01, 1, 100)
    group = hand.group(hand.producer(model, "conv"), hand.channelwise(model, "bn"))
    assert RePrune().ratios([group], MethodContext(model), 0.55) == {"conv": 0.55}  # 0.55 * 100 is 55.000000000000007


def test_ratios_without_any_norm(hand):
    model, groups = normed(hand)
    assert RePrune().ratios(groups, MethodContext(model), 0.3) == {"plain": 0.3}


def test_nothing_of_the_model_changes(hand):
    model, groups = normed(hand, [1.0, 2.0, 3.0, 4.0])
    before = copy.deepcopy(model.state_dict())
    RePrune().ratios(groups, MethodContext(model), 0.5)
    selected(model, groups[0], 2)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


def test_bad_input(hand):
    model, group = hand.linear([[1.0], [2.0]])
    for n_keep in (0, 3):
        with pytest.raises(InvalidOption, match="from 1 to 2"):
            selected(model, group, n_keep)
    with pytest.raises(InvalidOption, match="at least 0 and below 1, but got 1"):
        RePrune().ratios([group], MethodContext(model), 1.0)
    orphan = hand.group(hand.producer(model, "0", channels=(0, 2)))
    with pytest.raises(UnsupportedModel, match="--ignore 0"):
        selected(model, orphan, 2)
