import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.methods._coverage import greedy_cover


def covered(memberships, taken):
    return sum(
        len(set(labels[np.isin(made, taken), column].tolist()))
        for made, labels in memberships
        for column in range(labels.shape[1])
    )


def memberships_of(seed, n, n_columns=4, n_clusters=4):
    labels = np.random.default_rng(seed).integers(0, n_clusters, size=(n, n_columns))
    dense = np.stack([np.unique(column, return_inverse=True)[1] for column in labels.T], axis=1)
    return [(np.arange(n), dense)]


def cover(memberships, n, n_keep, seed=0, fallback=None):
    fallback = np.ones(n) if fallback is None else np.asarray(fallback, dtype=float)
    return greedy_cover(memberships, n, n_keep, np.random.default_rng(seed), fallback)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 12), st.data())
def test_each_take_gains_the_most_that_any_channel_could(seed, n, data):
    memberships, n_keep = memberships_of(seed, n), data.draw(st.integers(1, n))
    taken = cover(memberships, n, n_keep, seed)
    assert len(set(taken)) == n_keep and set(taken) <= set(range(n))
    for step in range(n_keep):
        gains = [covered(memberships, [*taken[:step], c]) for c in range(n) if c not in taken[:step]]
        assert covered(memberships, taken[: step + 1]) == max(gains)


def test_not_worse_than_63_percent_of_the_best_set():
    for seed in range(10):
        memberships = memberships_of(seed, 9)
        best = max(covered(memberships, list(some)) for some in itertools.combinations(range(9), 3))
        assert covered(memberships, cover(memberships, 9, 3)) >= (1 - 1 / np.e) * best


def test_when_all_is_covered_the_largest_fill_up_whatever_the_seed():
    same = [(np.arange(5), np.zeros((5, 2), dtype=int))]
    for seed in range(5):
        first, *rest = cover(same, 5, 3, seed, fallback=[1, 5, 2, 4, 3])
        assert rest == [c for c in (1, 3, 4, 2, 0) if c != first][:2]


def test_equals_are_drawn_by_the_generator():
    apart = [(np.arange(6), np.arange(6)[:, None])]
    assert len({tuple(cover(apart, 6, 2, seed)) for seed in range(20)}) > 5
    assert cover(apart, 6, 2, 3) == cover(apart, 6, 2, 3)


def test_layers_that_make_some_channels_are_counted_for_those():
    # Channel 0 and 1 come from one layer and are alike; 2 and 3 from another and are alike.
    two = [(np.array([0, 1]), np.zeros((2, 3), dtype=int)), (np.array([2, 3]), np.zeros((2, 1), dtype=int))]
    for seed in range(6):
        first, second = cover(two, 4, 2, seed)
        assert first in (0, 1) and second in (2, 3)
