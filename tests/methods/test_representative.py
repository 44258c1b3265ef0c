import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from torch import nn

from compressor.core.errors import InvalidOption, UnsupportedModel
from compressor.core.protocols import MethodContext
from compressor.methods.representative import Representative

EVERY = [Representative(cluster, elect) for cluster in ("ward", "kmeans") for elect in ("medoid", "max_norm")]
every_kind = st.sampled_from(EVERY)


def selected(method, model, group, n_keep, seed=0):
    return method.select(group, n_keep, MethodContext(model, seed))


def weights(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("cluster", ["ward", "kmeans"])
def test_worked_by_hand(hand, cluster):
    # Clusters {0, 1, 3} and {20, 26}. Sums of distances: 1 + 3, 1 + 2, 3 + 2, so the medoid is the 1; of two members
    # both are medoids, and the longer is elected. The longest are 3 and 26.
    model, group = hand.linear([[0.0], [1.0], [3.0], [20.0], [26.0]])
    assert selected(Representative(cluster, "medoid"), model, group, 2) == [1, 4]
    assert selected(Representative(cluster, "max_norm"), model, group, 2) == [2, 4]


@settings(deadline=None, max_examples=20)
@given(every_kind, st.integers(0, 1000), st.integers(2, 5))
def test_no_copy_stays_while_another_filter_leaves(hand, method, seed, copies):
    model, group = hand.conv(weights(seed, 8, 3, 2, 2).repeat(copies, 1, 1, 1))
    assert sorted(channel % 8 for channel in selected(method, model, group, 8, seed)) == list(range(8))
    fewer = selected(method, model, group, 5, seed)
    assert len({channel % 8 for channel in fewer}) == 5


@settings(deadline=None, max_examples=20)
@given(every_kind, st.integers(0, 1000), st.integers(1, 20), st.data())
def test_any_number_can_stay_and_all_may(hand, method, seed, n, data):
    n_keep = data.draw(st.integers(1, n))
    kept = selected(method, *hand.conv(weights(seed, n, 2, 2, 2)), n_keep, seed)
    assert len(kept) == n_keep and list(kept) == sorted(set(kept)) and set(kept) <= set(range(n))
    assert selected(method, *hand.conv(weights(seed, n, 2, 2, 2)), n, seed) == list(range(n))


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(["medoid", "max_norm"]), st.integers(0, 1000), st.integers(-20, 20), st.integers(1, 15))
def test_neither_the_order_of_the_filters_nor_their_scale_matters(hand, elect, seed, power, n_keep):
    weight, order = weights(seed, 16, 3, 3, 3), torch.randperm(16, generator=torch.Generator().manual_seed(seed))
    kept = selected(Representative(elect=elect), *hand.conv(weight), n_keep)
    again = selected(Representative(elect=elect), *hand.conv(weight[order] * 2.0**power), n_keep)
    assert sorted(order[again].tolist()) == list(kept)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.integers(2, 24), st.data())
def test_against_the_definition(hand, seed, n, data):
    """A second computation from the filters themselves, with scipy's own cut of its own tree."""
    n_keep = data.draw(st.integers(1, n))
    weight = weights(seed, n, 2, 3, 3)
    points = weight.flatten(1).double().numpy()
    labels = fcluster(linkage(points, "ward"), n_keep, criterion="maxclust")
    expected = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label).tolist()
        if len(members) == 2:  # each is as near to the other
            expected.append(max(members, key=lambda i: np.linalg.norm(points[i])))
        else:
            expected.append(min(members, key=lambda i: sum(np.linalg.norm(points[i] - points[j]) for j in members)))
    assert selected(Representative(), *hand.conv(weight), n_keep) == sorted(expected)


def test_a_layer_of_zeros_and_one_of_copies(hand):
    for method in EVERY:
        assert len(selected(method, *hand.conv(torch.zeros(8, 2, 3, 3)), 3)) == 3
        # Two differ: k-means finds two clusters, and the third place goes to one of the longer filter's copies.
        model, group = hand.linear([[1.0], [5.0], [1.0], [5.0]])
        assert len(set(selected(method, model, group, 3)) & {1, 3}) >= 1


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.integers(-20, 20), st.integers(2, 14))
def test_coupled_producers_count_alike_whatever_their_scale(hand, seed, power, n_keep):
    model = nn.Sequential(nn.Linear(3, 16), nn.Linear(5, 16))
    model[0].weight.data, model[1].weight.data = weights(seed, 16, 3), weights(seed + 1, 16, 5)
    group = hand.group(hand.producer(model, "0"), hand.producer(model, "1"))
    kept = selected(Representative(), model, group, n_keep)
    model[1].weight.data *= 2.0**power
    assert selected(Representative(), model, group, n_keep) == kept


def test_channels_that_nothing_makes_are_refused(hand):
    model = nn.Sequential(nn.Linear(2, 4))
    group = hand.group(hand.producer(model, "0", positions=(0, 1), channels=(0, 1)), hand.channelwise(model, "0"))
    with pytest.raises(UnsupportedModel, match="must make every channel of 0"):
        selected(Representative(), model, group, 2)


def test_ratios_are_the_same_for_all(hand):
    model, group = hand.linear(weights(0, 4, 3))
    assert Representative().ratios([group], MethodContext(model), 0.5) == {"0": 0.5}
    assert Representative().ratios([group], MethodContext(model), 0.99) == {"0": 0.75}
    with pytest.raises(InvalidOption, match="pruning_ratio"):
        Representative().ratios([group], MethodContext(model), 1.0)


def test_options_out_of_range(hand):
    for options, name in (({"cluster": "dbscan"}, "cluster"), ({"elect": "any"}, "elect")):
        with pytest.raises(InvalidOption, match=f"`{name}`"):
            Representative(**options)
    for n_keep in (0, 5):
        with pytest.raises(InvalidOption, match="n_keep"):
            selected(Representative(), *hand.linear(weights(0, 4, 3)), n_keep)
