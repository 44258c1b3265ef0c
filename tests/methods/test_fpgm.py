import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.core.errors import InvalidOption
from compressor.core.protocols import MethodContext
from compressor.methods.fpgm import GeometricMedian


def scored(model, group, **options):
    return GeometricMedian(**options).scores([group], MethodContext(model))[group.name]


def test_worked_by_hand(hand):
    # A 3-4-5 triangle: corner distances 3 + 4, 3 + 5, 4 + 5. The corner at the right angle leaves first.
    assert torch.allclose(scored(*hand.linear([[0, 0], [3, 0], [0, 4]])), torch.tensor([7.0, 8.0, 9.0]))


def test_equals_sums_written_with_loops(hand):
    model, group = hand.conv(torch.randn(6, 2, 3, 3))
    filters = model[0].weight.flatten(1).tolist()
    expected = [sum(math.dist(one, other) for other in filters) for one in filters]
    assert torch.allclose(scored(model, group), torch.tensor(expected))


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000))
def test_adding_one_tensor_to_all_filters_changes_nothing(hand, seed):
    generator = torch.Generator().manual_seed(seed)
    weight, shift = torch.randn(5, 2, 3, 3, generator=generator), torch.randn(2, 3, 3, generator=generator)
    assert torch.allclose(scored(*hand.conv(weight)), scored(*hand.conv(weight + 10 * shift)), rtol=1e-4)


def test_duplicates_score_the_same_and_all_equal_filters_score_zero(hand):
    row = torch.randn(3, 7)
    first, second = scored(*hand.linear(torch.cat([row, row]))).split(3)
    assert torch.allclose(first, second)
    assert scored(*hand.linear(torch.full((4, 7), 1e4))).abs().max() == 0


def test_cosine_ignores_length(hand):
    # Directions east, north, north: the two norths are sqrt(2) from east and 0 from each other.
    scores = scored(*hand.linear([[5, 0], [0, 1], [0, 9]]), distance="cosine")
    assert torch.allclose(scores, torch.tensor([2, 1, 1]) * 2**0.5)


def test_unknown_distance():
    with pytest.raises(InvalidOption, match="'euclidean' or 'cosine', but got 'l7'"):
        GeometricMedian(distance="l7")
