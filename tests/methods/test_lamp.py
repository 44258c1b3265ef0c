import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.core.protocols import MethodContext
from compressor.methods.lamp import LayerAdaptiveMagnitude


def scored(model, group):
    return LayerAdaptiveMagnitude().scores([group], MethodContext(model))[group.name]


def test_worked_by_hand(hand):
    # Squared norms 25, 4, 1: 25 / 25, 4 / 29, 1 / 30.
    assert torch.allclose(scored(*hand.linear([[3, 4], [2, 0], [0, -1]])), torch.tensor([1, 4 / 29, 1 / 30]))


def test_equals_the_papers_sum_over_those_not_smaller(hand):
    model, group = hand.conv(torch.randn(8, 3, 3, 3))
    squares = [sum(w**2 for w in row) for row in model[0].weight.flatten(1).tolist()]
    expected = [u / sum(v for v in squares if v >= u) for u in squares]
    assert torch.allclose(scored(model, group), torch.tensor(expected))


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 30), st.floats(1e-3, 1e3))
def test_largest_is_1_order_is_that_of_norms_and_scale_does_not_matter(hand, n, scale):
    weight = torch.randn(n, 5, generator=torch.Generator().manual_seed(n))
    scores = scored(*hand.linear(weight))
    assert scores.max() == 1 and scores.min() > 0
    assert torch.equal(scores.argsort(), weight.norm(dim=1).argsort())
    assert torch.allclose(scored(*hand.linear(weight * scale)), scores, rtol=1e-4)


def test_equal_filters_still_have_one_that_scores_1(hand):
    scores = scored(*hand.linear(torch.ones(4, 2)))
    assert torch.allclose(scores, torch.tensor([1 / 4, 1 / 3, 1 / 2, 1]))


def test_zeros(hand):
    assert scored(*hand.linear([[0, 0], [1, 0]])).tolist() == [0, 1]
    assert scored(*hand.linear(torch.zeros(3, 2))).tolist() == [0, 0, 0]
