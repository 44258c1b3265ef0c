import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.core.errors import InvalidOption
from compressor.training.penalties.l1 import L1
from compressor.training.penalties.l1_minus_l2 import L1MinusL2

NUMBERS = st.floats(-3, 3) | st.sampled_from([0.0, 1.0, -1.0])


@settings(deadline=None, max_examples=40)
@given(st.lists(NUMBERS, min_size=1, max_size=3), st.floats(0.01, 3), st.floats(0, 1), st.integers(0, 100))
def test_prox_is_the_best_vector(check, x, t, alpha, seed):
    generator = torch.Generator().manual_seed(seed)
    check.vector(L1MinusL2(alpha), torch.tensor(x, dtype=torch.float64), t, generator)


@pytest.mark.parametrize("x", [[2.0, 0.5], [0.8, 0.7], [0.4, 0.3], [1.0, 1.0], [0.6, 0.5]])
def test_each_case_of_the_prox(check, x):
    check.vector(L1MinusL2(0.5), torch.tensor(x, dtype=torch.float64), 1.0, torch.Generator().manual_seed(0))


def test_cases_by_hand():
    penalty = L1MinusL2(0.5)  # t = 1: nothing up to 1/2, one entry up to 1, several beyond
    assert penalty.prox(torch.tensor([0.5, 0.4]), 1.0).tolist() == [0, 0]
    assert penalty.prox(torch.tensor([0.5, -0.75]), 1.0).tolist() == [0, -0.25]
    assert penalty.prox(torch.tensor([4.0, 5.0]), 1.0).tolist() == pytest.approx([3.3, 4.4])  # (3, 4) (5 + 1/2) / 5


def test_one_entry_is_free_for_alpha_one():
    assert L1MinusL2(1.0).value(torch.tensor([0.0, -7.0, 0.0])).item() == 0
    assert L1MinusL2(1.0).prox(torch.tensor([0.0, -0.1, 0.05]), 1.0).tolist() == pytest.approx([0, -0.1, 0])


def test_no_alpha_is_l1():
    x = torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(L1MinusL2(0.0).value(x), L1().value(x))
    assert torch.equal(L1MinusL2(0.0).prox(x, 0.4), L1().prox(x, 0.4))
    assert torch.equal(L1MinusL2(0.0).prox(x / 10, 0.4), L1().prox(x / 10, 0.4))


def test_subgradient(check):
    check.subgradient(L1MinusL2(0.8), [[3.0, -0.7], [0.1, 2.0]])
    assert L1MinusL2().subgradient(torch.zeros(3)).tolist() == [0, 0, 0]


def test_keeps_the_shape_and_takes_empty_tensors():
    assert L1MinusL2().prox(torch.ones(2, 3, 4), 0.1).shape == (2, 3, 4)
    assert L1MinusL2().prox(torch.zeros(2, 2), 1.0).tolist() == [[0, 0], [0, 0]]
    assert L1MinusL2().prox(torch.zeros(0, 3), 1.0).shape == (0, 3)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_bad_options(alpha):
    with pytest.raises(InvalidOption, match="l1_minus_l2: `alpha` must be from 0 to 1"):
        L1MinusL2(alpha)
