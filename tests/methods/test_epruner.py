import math
import warnings

import numpy as np
import pytest
import sklearn.cluster
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from compressor.core.errors import InvalidOption, UnsupportedModel
from compressor.core.protocols import MethodContext
from compressor.methods import epruner
from compressor.methods.epruner import Exemplars


def selected(model, group, n_keep, seed=0, **options):
    return Exemplars(**options).select(group, n_keep, MethodContext(model, seed))


def weights(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def listening(model):
    said = []
    return MethodContext(model, note=lambda group, sentence: said.append((group, sentence))), said


def elected(weight, beta):
    """The exemplars straight from scikit-learn, with the preference as the paper's code sets it."""
    rows = weight.flatten(1).double().numpy()
    similarity = -np.square(rows[:, None] - rows).sum(2)
    preference = beta * np.median(similarity, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        return list(sklearn.cluster.affinity_propagation(similarity, preference=preference, random_state=0)[0])


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(3, 40), st.sampled_from([0.4, 0.6, 0.73, 0.9]))
def test_beta_given_and_its_own_count_are_the_papers_exemplars(hand, seed, n, beta):
    weight = weights(seed, n, 2, 3, 3)
    try:
        expected = elected(weight, beta)
    except ConvergenceWarning:
        return
    model, group = hand.conv(weight)
    assert selected(model, group, len(expected), beta=beta) == expected
    context, said = listening(model)
    share = 1 - len(expected) / n
    assert Exemplars(beta).ratios([group], context, max(share, 0.01))["0"] == pytest.approx(max(share, 0.01))
    assert said == [("all groups", f"beta = {beta:g} by itself would remove {share:.1%} of the channels.")]


def test_every_beta_finds_eight_tight_clusters_of_eight(hand):
    centres, noise = weights(1, 8, 40), weights(2, 64, 40)
    model, group = hand.linear(centres.repeat(8, 1) + 0.01 * noise)
    for beta in (0.5, 1.0, 2.0):
        kept = selected(model, group, 8, beta=beta)
        assert sorted(channel % 8 for channel in kept) == list(range(8))
        assert Exemplars(beta).ratios([group], MethodContext(model), 1 - 8 / 64) == {"0": 1 - 8 / 64}
    assert sorted(channel % 8 for channel in selected(model, group, 8)) == list(range(8))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.integers(2, 5))
def test_no_copy_stays_while_another_filter_leaves(hand, seed, copies):
    model, group = hand.conv(weights(seed, 8, 3, 2, 2).repeat(copies, 1, 1, 1))
    for n_keep in (5, 8):
        assert len({channel % 8 for channel in selected(model, group, n_keep, seed)}) == n_keep


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.integers(2, 20), st.integers(-40, 40), st.data())
def test_neither_the_scale_of_the_weights_nor_global_random_state_matters(hand, seed, n, power, data):
    n_keep = data.draw(st.integers(1, n))
    weight = weights(seed, n, 2, 2, 2)
    np.random.seed(seed)
    kept = selected(*hand.conv(weight), n_keep)
    np.random.seed(seed + 1)
    assert selected(*hand.conv(weight * 2.0**power), n_keep) == kept
    assert kept == sorted(set(kept)) and len(kept) == n_keep


def test_worked_by_hand_beta_is_found_for_the_count(hand):
    # Medians of the columns: 12.505, 12.01, 24.505, 61.505. Of the pair the 0.1 is cheaper and nearer to the others, so
    # the 0 leaves first, at 0.01. As second exemplar the 5 leaves 25 for the 10, and the 10 leaves 24.01 for the 5, but
    # its price is 37 beta more.
    model, group = hand.linear([[0.0], [0.1], [5.0], [10.0]])
    assert [selected(model, group, n) for n in (2, 3, 4)] == [[1, 2], [1, 2, 3], [0, 1, 2, 3]]


def test_groups_at_one_beta_share_the_cut(hand):
    # 24 filters in 6 tight bunches beside 24 that have nothing in common: at any one beta that removes some filters and
    # leaves most, all of those are in the bunches.
    model = nn.ModuleDict({"alike": nn.Linear(30, 24, bias=False), "apart": nn.Linear(30, 24, bias=False)})
    model["alike"].weight.data = weights(0, 6, 30).repeat(4, 1) + 0.1 * weights(1, 24, 30)
    model["apart"].weight.data = weights(2, 24, 30)
    groups = [hand.group(hand.producer(model, name)) for name in model]
    found = Exemplars().ratios(groups, MethodContext(model), 0.375)
    assert found == {"alike": pytest.approx(0.75, abs=0.1), "apart": pytest.approx(0.0, abs=0.1)}
    for share in (0.01, 0.2, 0.5, 0.8, 0.95):
        found = Exemplars().ratios(groups, MethodContext(model), share)
        assert np.mean(list(found.values())) == pytest.approx(share)


def test_counts_of_the_groups_are_those_of_one_beta(hand):
    """Without interpolation: the shares at which the search stops are counts that one beta makes in all groups."""
    model = nn.ModuleDict({str(n): nn.Linear(12, n, bias=False) for n in (20, 30, 40)})
    for seed, layer in enumerate(model.values()):
        layer.weight.data = weights(seed, *layer.weight.shape) * torch.linspace(0.3, 1, len(layer.weight))[:, None]
    groups = [hand.group(hand.producer(model, name)) for name in model]
    context = MethodContext(model)
    method = Exemplars()
    method.ratios(groups, context, 0.5)
    tried = [set(context.memory[method, group.name].tried) for group in groups]
    assert tried[0] == tried[1] == tried[2] and len(tried[0]) == 3
    for beta in tried[0]:
        counts = [len(elected(model[group.name].weight.data, beta)) for group in groups]
        found = method.ratios(groups, context, 1 - sum(counts) / 90)
        assert [group.n_channels * (1 - found[group.name]) for group in groups] == pytest.approx(counts)


def test_between_its_own_widths_a_given_beta_is_scaled_to_the_budget(hand):
    model, group = hand.linear(weights(1, 8, 40).repeat(8, 1) + 0.01 * weights(2, 64, 40))
    halfway = Exemplars(1.0).ratios([group], MethodContext(model), (1 - 8 / 64) / 2)
    assert halfway == {"0": pytest.approx((1 - 8 / 64) / 2)}
    context, said = listening(model)
    assert len(Exemplars(1.0).select(group, 20, context)) == 20
    assert said == [("0", epruner.OTHER_COUNT.format(beta=1.0))]


def test_filters_equally_far_apart_fall_off_the_cliff_and_it_is_said(hand):
    model, group = hand.linear(torch.eye(12))
    context, said = listening(model)
    assert len(Exemplars().select(group, 6, context)) == 6
    assert said == [("0", epruner.CLIFF)]
    context, said = listening(model)
    assert len(Exemplars().select(group, 12, context)) == 12 and not said


def test_messages_that_never_come_to_rest_are_said(hand, monkeypatch):
    monkeypatch.setattr(epruner, "affinity_exemplars", lambda squares, *_: ([0, 1, 2], False))
    context, said = listening(model := nn.ModuleDict({"0": nn.Linear(3, 8)}))
    assert len(Exemplars().select(hand.group(hand.producer(model, "0")), 3, context)) == 3
    assert said == [("0", epruner.UNSETTLED)]


def test_exemplars_are_worked_out_once_and_forgotten_with_the_choice(hand, monkeypatch):
    runs, original = [], epruner.affinity_exemplars

    def counted(squares, beta, *rest):
        runs.append(beta)
        return original(squares, beta, *rest)

    monkeypatch.setattr(epruner, "affinity_exemplars", counted)
    method, (model, group) = Exemplars(), hand.conv(weights(0, 32, 3, 3, 3))
    context = MethodContext(model)
    first = method.ratios([group], context, 0.4)
    n_runs = len(runs)
    assert method.ratios([group], context, 0.4) == first and len(runs) == n_runs == 3
    kept = method.select(group, 16, context)
    assert not context.memory
    # Another model of the same names, given to the same plug-in, is judged by its own weights.
    other, _ = hand.conv(weights(1, 32, 3, 3, 3))
    assert method.select(group, 16, MethodContext(other)) == selected(*hand.conv(weights(1, 32, 3, 3, 3)), 16) != kept


def test_nothing_is_worked_out_where_all_stay_or_one_of_each_group(hand, monkeypatch):
    monkeypatch.setattr(epruner, "affinity_exemplars", None)
    model, group = hand.conv(weights(0, 10, 3, 3, 3))
    for beta in (None, 0.7):
        assert Exemplars(beta).ratios([group], MethodContext(model), 0.0) == {"0": 0}
        assert Exemplars(beta).ratios([group], MethodContext(model), 0.99) == {"0": 0.9}


@pytest.mark.parametrize("bias", [0.9, 1.1])
def test_a_few_betas_are_enough_where_greedy_counts_are_off(hand, monkeypatch, bias):
    """A stand-in whose counts are the greedy ones at another beta."""
    model, group = hand.linear(weights(0, 200, 9) * torch.linspace(0.3, 1, 200)[:, None])
    method, context, tried = Exemplars(), MethodContext(model), []

    def counted(squares, beta, *_):
        tried.append(int((method._channels(group, context).betas[1:] > beta * bias).sum()))
        return list(range(tried[-1])), True

    monkeypatch.setattr(epruner, "affinity_exemplars", counted)
    method.select(group, 100, context)
    assert abs(tried[0] - 100) > 2 >= abs(tried[-1] - 100) and len(tried) <= 4


def test_many_narrow_groups(hand):
    model = nn.ModuleDict({str(n): nn.Linear(2, 2) for n in range(6)})
    groups = [hand.group(hand.producer(model, name)) for name in model]
    for share in (0.05, 0.3, 0.45):
        found = Exemplars().ratios(groups, MethodContext(model), share)
        assert sum(found.values()) / 6 == pytest.approx(share)
    assert math.isfinite(Exemplars()._shared_beta(groups, MethodContext(model), 1 / 8))


def test_the_nearest_of_the_counts_that_were_tried_is_taken(hand, monkeypatch):
    counts = iter([2, 12, 3, 4, 4, 4])
    monkeypatch.setattr(epruner, "affinity_exemplars", lambda *_: (list(range(next(counts))), True))
    model, group = hand.linear(weights(0, 16, 3))
    channels = Exemplars()._channels(group, MethodContext(model))
    assert len(channels.nearest(10)) == 12


def test_a_layer_of_zeros_one_channel_and_one_of_copies(hand):
    for rows in (torch.zeros(8, 3), torch.ones(8, 3), torch.tensor([[1.0, 0.0, 0.0]] * 7 + [[5.0, 0.0, 0.0]])):
        model, group = hand.linear(rows)
        assert len(set(selected(model, group, 3))) == 3
        assert 0 < Exemplars().ratios([group], MethodContext(model), 0.5)["0"] <= 7 / 8
    assert 7 in selected(model, group, 2)
    assert selected(*hand.linear([[2.0]]), 1) == [0]
    model = nn.ModuleDict({name: nn.Linear(2, 1) for name in "abc"})
    alone = [hand.group(hand.producer(model, name)) for name in model]
    assert Exemplars().ratios(alone, MethodContext(model), 0.5) == {"a": 0, "b": 0, "c": 0}


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.integers(-20, 20), st.integers(2, 14))
def test_coupled_producers_count_alike_whatever_their_scale(hand, seed, power, n_keep):
    model = nn.Sequential(nn.Linear(3, 16), nn.Linear(5, 16))
    model[0].weight.data, model[1].weight.data = weights(seed, 16, 3), weights(seed + 1, 16, 5)
    group = hand.group(hand.producer(model, "0"), hand.producer(model, "1"))
    kept = selected(model, group, n_keep)
    model[1].weight.data *= 2.0**power
    assert selected(model, group, n_keep) == kept


def test_both_producers_of_a_coupled_group_are_heard(hand):
    # Each layer tells two bunches of four apart, together they make four bunches of two.
    model = nn.Sequential(nn.Linear(1, 8, bias=False), nn.Linear(1, 8, bias=False))
    model[0].weight.data = torch.tensor([0.0, 0, 0, 0, 1, 1, 1, 1])[:, None]
    model[1].weight.data = torch.tensor([0.0, 0, 9, 9, 0, 0, 9, 9])[:, None]
    kept = selected(model, hand.group(hand.producer(model, "0"), hand.producer(model, "1")), 4)
    assert sorted(channel // 2 for channel in kept) == [0, 1, 2, 3]


def test_a_concatenation_can_be_cut_to_any_width(hand):
    model = nn.Sequential(nn.Conv2d(2, 6, 3), nn.Conv2d(2, 2, 1))
    group = hand.group(hand.producer(model, "0"), hand.producer(model, "1", channels=(6, 7)))
    for n_keep in range(1, 9):
        assert len(selected(model, group, n_keep)) == n_keep


def test_bad_input(hand):
    model, group = hand.linear([[1.0], [2.0]])
    for options, name in (({"beta": 0.0}, "beta"), ({"beta": math.inf}, "beta"), ({"damping": 1.0}, "damping")):
        with pytest.raises(InvalidOption, match=f"`{name}`"):
            Exemplars(**options)
    for n_keep in (0, 3):
        with pytest.raises(InvalidOption, match="from 1 to 2"):
            selected(model, group, n_keep)
    with pytest.raises(InvalidOption, match="at least 0 and below 1, but got 1"):
        Exemplars().ratios([group], MethodContext(model), 1.0)
    orphan = hand.group(hand.producer(model, "0", channels=(0, 2)))
    with pytest.raises(UnsupportedModel, match="--ignore 0"):
        selected(model, orphan, 2)
    model, group = hand.linear([[1.0], [math.nan], [2.0]])
    with pytest.raises(UnsupportedModel, match=r"0\.weight"):
        selected(model, group, 2)
