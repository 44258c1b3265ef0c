from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.decompositions.ranks import break_even, energy_rank, largest_within, rank_path, threshold_rank

spectra = st.lists(st.floats(0, 100), min_size=1, max_size=6).map(
    lambda values: torch.tensor([sorted(values, reverse=True)], dtype=torch.float64)
)
energies = st.floats(0.01, 1)


def test_energy_by_hand():
    # Squares 9, 4, 1: shares 9/14, 13/14, 1.
    singular = torch.tensor([[3.0, 2.0, 1.0]])
    assert [energy_rank(singular, energy) for energy in (0.5, 0.7, 0.9, 0.95)] == [1, 2, 2, 3]
    assert energy_rank(torch.tensor([[3.0, 1.0]]), 0.9) == 1  # just the share: enough
    assert energy_rank(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), 0.6) == 2  # every matrix must have its share
    assert energy_rank(torch.zeros(1, 4), 1.0) == 1


@given(singular=spectra, low=energies, high=energies)
def test_energy_is_monotone_enough_and_no_more(singular, low, high):
    low, high = sorted((low, high))
    rank = energy_rank(singular, high)
    assert energy_rank(singular, low) <= rank <= singular.shape[1]
    total = float(singular.square().sum())
    assert float(singular[:, :rank].square().sum()) >= high * total * (1 - 1e-12)
    if rank > 1:
        assert float(singular[:, : rank - 1].square().sum()) < high * total * (1 + 1e-12)


@given(singular=spectra)
def test_all_energy_is_all_that_is_not_zero(singular):
    singular = singular.round()  # else squares may vanish beside others
    assert energy_rank(singular, 1.0) == max(1, int((singular > 0).sum()))


@given(singular=spectra, low=st.floats(0.01, 100), high=st.floats(0.01, 100))
def test_threshold_is_monotone(singular, low, high):
    low, high = sorted((low, high))
    rank = threshold_rank(singular, low)
    assert 1 <= threshold_rank(singular, high) <= rank <= singular.shape[1]
    assert bool((singular[0, rank:] < low).all())


def test_threshold_keeps_what_is_just_as_large():
    assert threshold_rank(torch.tensor([[0.5, 0.05]], dtype=torch.float64), 0.05) == 2


@given(first=spectra, second=spectra)
def test_a_path_rises_by_one_from_one_to_all(first, second):
    path = rank_path([first, second])
    assert path[0] == (1, 1) and path[-1] == (first.shape[1], second.shape[1])
    for (a, b), (c, d) in pairwise(path):
        assert (c - a, d - b) in ((0, 1), (1, 0))
        chosen = first[0, a] if c > a else second[0, b]
        other = second[0, b : b + 1] if c > a else first[0, a : a + 1]
        assert bool((other**2 <= chosen**2).all())


@given(n=st.integers(1, 20), price=st.integers(1, 50), allowed=st.floats(0, 1000))
def test_the_largest_within_a_budget(n, price, allowed):
    path = [(rank,) for rank in range(1, n + 1)]
    found = largest_within(path, lambda ranks: price * ranks[0], allowed)
    fitting = [ranks for ranks in path if price * ranks[0] <= allowed]
    assert found == (fitting[-1] if fitting else None)


def test_break_even_saves_something():
    path = [(1,), (2,), (3,)]
    assert break_even(path, lambda ranks: 10 * ranks[0], 20) == (1,)
    assert break_even(path, lambda ranks: 10 * ranks[0], 10) is None
