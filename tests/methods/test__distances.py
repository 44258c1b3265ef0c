import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compressor.methods._distances import group_squared_distances, squared_distances


def naive(rows):
    return torch.cdist(rows.double(), rows.double(), compute_mode="donot_use_mm_for_euclid_dist").square()


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.integers(1, 12))
def test_distances_are_those_between_the_rows_wherever_they_lie(seed, n):
    rows = torch.randn(n, 5, generator=torch.Generator().manual_seed(seed)) + 1e3
    found = squared_distances(rows)
    assert torch.allclose(found, naive(rows), rtol=1e-6, atol=1e-9)
    assert torch.equal(found, found.T) and not found.diagonal().any()


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.integers(2, 12))
def test_each_producer_counts_by_its_median_distance(hand, seed, n):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, n), nn.Linear(5, n))
    expected = torch.zeros(n, n).double()
    for layer in model:
        squares = naive(layer.weight.detach())
        between = [float(squares[i, j]) for i in range(n) for j in range(i)]
        expected += squares / np.sort(between)[(len(between) - 1) // 2]  # the lower of two in the middle
    found = group_squared_distances(model, hand.group(hand.producer(model, "0"), hand.producer(model, "1")))
    assert torch.allclose(found, expected)


def test_copies_and_channels_of_other_producers(hand):
    # Squared distances of the first producer: 0, 0, 0 (three copies), 4, 4, 4; the median is 0, so their mean 2 is the
    # unit. The second makes channels 2 and 4 only: 9 apart is its unit. Where it makes nothing it has zeros, and where
    # the first makes nothing that has: 1 away from a copy.
    model = nn.Sequential(nn.Linear(1, 4), nn.Linear(1, 2))
    model[0].weight.data = torch.tensor([[1.0], [1.0], [1.0], [3.0]])
    model[1].weight.data = torch.tensor([[3.0], [6.0]])
    first, second = hand.producer(model, "0"), hand.producer(model, "1", channels=(2, 4))
    found = group_squared_distances(model, hand.group(first, second))
    assert found[0].tolist() == pytest.approx([0, 0, 9 / 9, 4 / 2, 1 / 2 + 36 / 9])
    assert found[2, 4].item() == pytest.approx(1 / 2 + 9 / 9)
    assert (
        group_squared_distances(
            model, hand.group(hand.producer(model, "0"), hand.producer(model, "1", channels=(2, 5)))
        )
        is None
    )
    model[0].weight.data.zero_()
    assert not group_squared_distances(model, hand.group(first)).any()
