from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.training.schedule import EpochBatches, learning_rate, seed_of


@given(st.integers(1, 500), st.floats(0.001, 10), st.floats(0, 0.95))
def test_the_rate_rises_to_its_peak_and_falls_towards_zero(n_steps, peak, warmup):
    rates = [learning_rate(step, n_steps, peak, warmup) for step in range(n_steps)]
    top = rates.index(max(rates))
    assert all(0 < rate <= peak * (1 + 1e-12) for rate in rates)
    assert all(a < b for a, b in pairwise(rates[: top + 1]))
    assert all(a >= b for a, b in pairwise(rates[top:]))


def test_seeds_depend_on_every_part():
    seeds = {
        seed_of(0, "order", 1),
        seed_of(0, "order", 2),
        seed_of(1, "order", 1),
        seed_of(0, "model", 1),
        seed_of(-1),
    }
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of(0, 1) == seed_of(0, 1)


def test_an_epoch_has_each_image_once_and_no_incomplete_batch():
    order = EpochBatches(23, 5, seed=3)
    batches = list(order)
    assert [len(batch) for batch in batches] == [5, 5, 5, 5] and len(order) == order.n_per_epoch == 4
    assert len({image for batch in batches for image in batch}) == 20
    order.epoch = 1
    assert list(order) != batches


@pytest.mark.parametrize("first", [0, 1, 3, 4])
def test_going_on_in_mid_epoch_gives_the_rest_of_it(first):
    order = EpochBatches(20, 5, seed=3)
    whole = list(order)
    order.first = first
    assert list(order) == whole[first:] and len(order) == 4 - first
