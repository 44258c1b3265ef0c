"""Random kept sets for trials, and who is at fault where one fails."""

import random

import pytest

from compressor.core.groups import ChannelGroup
from compressor.surgery.suspects import culprits, some_channels, suspects_at


def groups(*sizes):
    return [ChannelGroup(f"g{number}", size, ()) for number, size in enumerate(sizes)]


@pytest.mark.parametrize("n", [2, 3, 4, 8, 17, 64, 513])
def test_never_none_and_never_all(n):
    for seed in range(50):
        (kept,) = some_channels(groups(n), random.Random(seed)).values()
        assert 0 < len(kept) < n and list(kept) == sorted(set(kept)) and set(kept) <= set(range(n))


def test_groups_of_one_size_keep_different_numbers():
    keep = some_channels(groups(8, 6, 8, 8, 6, 8, 8), random.Random(0))
    assert sorted(len(keep[f"g{i}"]) for i in (0, 2, 3, 5, 6)) == [2, 3, 4, 5, 6]
    assert len(keep["g1"]) != len(keep["g4"])


def test_more_groups_than_numbers():
    keep = some_channels(groups(*[3] * 5), random.Random(0))
    assert {len(kept) for kept in keep.values()} == {1, 2}


def failing(*sets):
    """Cuts fail that hold one of these sets of groups, by number."""
    return lambda cut: "wrong" if any({f"g{i}" for i in one} <= {group.name for group in cut} for one in sets) else None


@pytest.mark.parametrize(
    ("sets", "named"),
    [
        ([{1}], ["g1"]),
        ([{1}, {2}], ["g1", "g2"]),
        ([{0, 2}], ["g2"]),  # the narrower of the two that do not go together
        ([{0, 2, 3}], ["g3"]),
        ([{0, 9}], ["g0", "g1", "g2", "g3"]),  # only with a group elsewhere: nobody can be let go
    ],
)
def test_who_is_at_fault(sets, named):
    found = culprits([groups(72, 6, 12, 3)], failing(*sets))
    assert [group.name for group in found] == named


def test_who_is_right_alone_is_let_go_where_another_near_is_not():
    """The operator's number may be one too high, and then shows the group that only passes by."""
    one, two, three = groups(72, 6, 12)
    near = suspects_at(3, [one, two, three], [frozenset({"g2"}), frozenset({"g1"}), frozenset(), frozenset({"g0"})])
    assert [[group.name for group in some] for some in near] == [["g0"], ["g1"], ["g2"]]
    assert culprits(near, failing({1})) == [two]
    assert culprits(near, failing({1, 2})) == [one], "none of the near ones fails without another"
    assert suspects_at(None, [one], [frozenset({"g0"})]) == []
