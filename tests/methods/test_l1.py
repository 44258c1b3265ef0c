import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compressor.core.protocols import MethodContext
from compressor.methods.l1 import L1Norm


def scored(model, group):
    return L1Norm().scores([group], MethodContext(model))[group.name]


def test_worked_by_hand(hand):
    # Two filters of two 1x2 kernels: 1 + 2 + 3 + 0 and 1 + 1 + 1 + 1.
    assert scored(*hand.conv([[[[1, -2]], [[3, 0]]], [[[1, 1]], [[-1, -1]]]])).tolist() == [6, 4]


def test_equals_a_sum_written_with_loops(hand):
    model, group = hand.conv(torch.randn(5, 3, 2, 2))
    expected = []
    for kernels in model[0].weight.tolist():
        expected.append(sum(abs(w) for kernel in kernels for row in kernel for w in row))
    assert torch.allclose(scored(model, group), torch.tensor(expected))


@settings(deadline=None, max_examples=15)
@given(st.floats(0.01, 100))
def test_grows_in_proportion_to_the_weights_also_with_several_producers(hand, scale):
    model = nn.Sequential(nn.Linear(2, 4), nn.Linear(3, 4))
    group = hand.group(hand.producer(model, "0"), hand.producer(model, "1"))
    before = scored(model, group)
    for layer in model:
        layer.weight.data *= scale
    assert torch.allclose(scored(model, group), before * scale, rtol=1e-4)
