import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.training.penalties.group_l2 import GroupL2
from compressor.training.penalties.l1 import L1


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4), st.floats(0.01, 2), st.integers(0, 100))
def test_prox_is_the_best_of_two_rows(check, x, t, seed):
    rows = torch.tensor(x, dtype=torch.float64).view(2, 2)
    check.vector(GroupL2(), rows, t, torch.Generator().manual_seed(seed))


def test_by_hand():
    x = torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert GroupL2().value(x).item() == 10  # sqrt(4) * 5
    assert GroupL2().prox(x, 1.0)[0].tolist() == pytest.approx([1.8, 2.4, 0, 0])  # 5 - 2
    assert GroupL2().prox(x, 2.5).abs().sum() == 0


def test_rows_of_one_entry_are_l1():
    x = torch.randn(20, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(GroupL2().value(x), L1().value(x))
    assert torch.allclose(GroupL2().prox(x, 0.3), L1().prox(x, 0.3), atol=1e-6)


def test_subgradient(check):
    check.subgradient(GroupL2(), [[[3.0, -0.7]], [[0.1, 2.0]]])
    assert GroupL2().subgradient(torch.zeros(2, 3)).tolist() == [[0, 0, 0], [0, 0, 0]]
    x = torch.zeros(2, 3, requires_grad=True)
    assert torch.autograd.grad(GroupL2().value(x), x)[0].abs().sum() == 0


def test_keeps_the_shape():
    assert GroupL2().prox(torch.ones(5, 3, 2, 2), 0.1).shape == (5, 3, 2, 2)
