"""Widths to time: the same each time, whole first, all layers wide and narrow together and independently."""

from itertools import islice

import numpy as np

from compressor.latency.design import NARROWEST, choices

GRIDS = {"a": list(range(8, 65, 8)), "b": list(range(16, 257, 16)), "c": [3]}


def drawn(n, **options):
    return list(islice(choices(GRIDS, **options), n))


def test_the_whole_comes_first_and_all_are_allowed():
    found = drawn(50)
    assert found[0] == {"a": 64, "b": 256, "c": 3}
    assert all(count in GRIDS[name] for each in found for name, count in each.items())
    assert all(each.keys() == GRIDS.keys() for each in found)


def test_the_same_for_the_same_seed_however_many():
    assert drawn(30) == drawn(30) == drawn(60)[:30] != drawn(30, seed=1)


def test_narrow_and_wide_together_and_independently():
    shares = np.array([[each["a"] / 64, each["b"] / 256] for each in drawn(61)[1:]])
    together, apart = shares[0::2], shares[1::2]
    assert np.corrcoef(together.T)[0, 1] > 0.8 and abs(np.corrcoef(apart.T)[0, 1]) < 0.4
    for column in shares.T:
        assert column.min() < 2 * NARROWEST and column.max() > 0.9
        assert np.histogram(column, 4, (0, 1))[0].min() >= 5  # a quarter of the range has its part
