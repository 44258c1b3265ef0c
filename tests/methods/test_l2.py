import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.core.protocols import MethodContext
from compressor.methods.l2 import L2Norm


def scored(model, group):
    return L2Norm().scores([group], MethodContext(model))[group.name]


def test_worked_by_hand(hand):
    # sqrt(4 + 4 + 1) and sqrt(16): one large weight outweighs three small ones, unlike under L1.
    assert scored(*hand.conv([[[[2, -2, 1]]], [[[4, 0, 0]]]])).tolist() == [3, 4]


def test_equals_a_sum_written_with_loops(hand):
    model, group = hand.conv(torch.randn(5, 3, 2, 2))
    expected = []
    for kernels in model[0].weight.tolist():
        expected.append(sum(w**2 for kernel in kernels for row in kernel for w in row) ** 0.5)
    assert torch.allclose(scored(model, group), torch.tensor(expected))


@settings(deadline=None, max_examples=15)
@given(st.floats(0.01, 100))
def test_grows_in_proportion_to_the_weights(hand, scale):
    weight = torch.linspace(-1, 1, 24).reshape(4, 3, 2, 1)
    assert torch.allclose(scored(*hand.conv(weight * scale)), scored(*hand.conv(weight)) * scale, rtol=1e-4)
