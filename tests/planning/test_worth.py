"""What keeping k channels is worth: by scores, by an allocation, by what the outputs lose."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.planning.allocate import uniform
from compressor.planning.worth import LEVELS, worth_of_damage, worth_of_levels, worth_of_scores


def test_sums_of_the_best_scores():
    worth = worth_of_scores({"a": torch.tensor([1.0, 4.0, 2.0]), "b": torch.tensor([-1.0, 0.5])})
    np.testing.assert_allclose(worth["a"], [0, 4, 6, 7])
    np.testing.assert_allclose(worth["b"], [0, 0.5, 0.5])  # what harms is worth nothing


def test_an_even_allocation(case):
    """Local allocation: of a group the first channel to leave is worth least, relative to what is behind it the same
    in all groups."""
    worth = worth_of_levels(case.groups, case.cost, uniform(case.groups))
    for group in case.groups:
        found = worth[group.name]
        each = np.diff(found)
        assert found.shape == (group.n_channels + 1,) and found[0] == 0
        assert (each >= 0).all() and (np.diff(each) <= 1e-9 * max(each)).all()
        # Channel j goes when less than the share j / n is left.
        expected = np.array([1 - j / group.n_channels for j in range(1, group.n_channels + 1)])
        if each[0] > 0:
            behind = each[-1] * LEVELS  # the last stays at level 0 only, and counts for 1 / LEVELS
            np.testing.assert_allclose(each / behind, expected, atol=1.01 / LEVELS)


def test_groups_that_an_allocation_narrows_early_are_worth_less(wide_case):
    first, second, *_ = wide_case.groups

    def allocation(level):
        kept = {group.name: group.n_channels * (1 - level) for group in wide_case.groups}
        kept[first.name] = first.n_channels if level < 0.5 else 0
        kept[second.name] = 0 if level > 0 else second.n_channels
        return kept

    worth = worth_of_levels(wide_case.groups, wide_case.cost, allocation)
    assert np.ptp(np.diff(worth[first.name])) < 1e-6 * worth[first.name][-1]
    even = worth_of_levels(wide_case.groups, wide_case.cost, uniform(wide_case.groups))
    share = worth[second.name][-1] / even[second.name][-1]
    assert share < 0.1 < worth[first.name][-1] / even[first.name][-1]


def test_an_allocation_that_widens_again_counts_once(wide_case):
    """Rounding may let a group grow from one level to the next; what has left stays away."""

    def allocation(level):
        wave = 0.1 * (round(level * LEVELS) % 2)
        return {group.name: group.n_channels * (1 - level) * (1 - wave) for group in wide_case.groups}

    for name, found in worth_of_levels(wide_case.groups, wide_case.cost, allocation).items():
        assert (np.diff(found) >= 0).all(), name


def test_damage_by_hand():
    worth = worth_of_damage({"a": {0.5: 2.0, 0.25: 6.0}}, {"a": 8})["a"]
    # Damage: 0 at 8 channels, 2 at 4, 6 at 2; in between on lines, below as steep as between the last two.
    np.testing.assert_allclose(10 - worth, [10, 8, 6, 4, 2, 1.5, 1, 0.5, 0])


def test_damage_that_falls_as_channels_leave_is_luck():
    worth = worth_of_damage({"a": {0.75: 3.0, 0.5: 1.0}}, {"a": 4})["a"]
    np.testing.assert_allclose(worth[-1] - worth[2:], [3, 3, 0])


def test_groups_that_were_not_tried_are_worth_nothing():
    worth = worth_of_damage({"a": {}}, {"a": 3})["a"]
    np.testing.assert_array_equal(worth, [0, 0, 0, 0])


@given(
    st.dictionaries(st.sampled_from([0.1, 0.25, 0.5, 0.75]), st.floats(0, 1e6), max_size=4),
    st.integers(1, 40),
)
def test_more_channels_are_never_worth_less(tried, n):
    worth = worth_of_damage({"a": tried}, {"a": n})["a"]
    assert worth.shape == (n + 1,) and worth[0] == 0 and (np.diff(worth) >= -1e-6).all() and np.isfinite(worth).all()


def test_only_groups_that_there_are():
    """A trial that is read back may know groups that have been set aside since."""
    assert worth_of_damage({"a": {0.5: 1.0}, "gone": {0.5: 1.0}}, {"a": 2}).keys() == {"a"}
    with pytest.raises(KeyError):
        worth_of_damage({"other": {0.5: 1.0}}, {"a": 2})
