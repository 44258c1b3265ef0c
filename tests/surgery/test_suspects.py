"""Random kept sets for trials."""

import random

import pytest

from compressor.core.groups import ChannelGroup
from compressor.surgery.suspects import some_channels


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
