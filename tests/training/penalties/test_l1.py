import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.training.penalties.l1 import L1


@settings(deadline=None, max_examples=60)
@given(st.floats(-5, 5), st.floats(0, 5))
def test_prox_is_the_best_number(check, x, t):
    check.number(L1(), x, t)


def test_subgradient(check):
    check.subgradient(L1(), [3.0, -0.1, 1e-9])
    assert L1().subgradient(torch.tensor([0.0, -0.0])).tolist() == [0, 0]


def test_by_hand():
    assert L1().value(torch.tensor([[3.0, -4.0], [0.0, 1.0]])).item() == 8
    assert L1().prox(torch.tensor([3.0, -4.0, 0.5, -1.0]), 1.0).tolist() == [2, -3, 0, 0]
