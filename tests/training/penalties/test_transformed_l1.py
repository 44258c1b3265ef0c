import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.core.errors import InvalidOption
from compressor.training.penalties.l0 import L0
from compressor.training.penalties.l1 import L1
from compressor.training.penalties.transformed_l1 import TransformedL1

LINE = torch.arange(-400, 401, dtype=torch.float64) / 100


@settings(deadline=None, max_examples=120)
@given(st.floats(-5, 5), st.floats(0, 5), st.floats(-3, 3).map(lambda power: 10**power))
def test_prox_is_the_best_number(check, x, t, a):
    check.number(TransformedL1(a), x, t)


@given(st.floats(-6, 6).map(lambda power: 10**power))
def test_one_at_one(a):
    assert TransformedL1(a).value(torch.tensor([-1.0], dtype=torch.float64)).item() == pytest.approx(1)


def test_formula_of_the_paper_with_the_cosine():
    a, t, x = 0.7, 0.3, LINE[LINE > 1.5]
    phi = torch.arccos(1 - 27 * t * a * (a + 1) / (2 * (a + x) ** 3))
    expected = 2 / 3 * (a + x) * torch.cos(phi / 3) - 2 / 3 * a + x / 3
    assert torch.allclose(TransformedL1(a).prox(x, t), expected, rtol=1e-12)


@pytest.mark.parametrize(("a", "t"), [(1.0, 0.2), (1.0, 0.4), (1.0, 3.0), (0.1, 0.5), (5.0, 2.0)])
def test_where_zeros_begin(a, t):
    limit = t * (a + 1) / a if t <= a * a / (2 * (a + 1)) else math.sqrt(2 * t * (a + 1)) - a / 2
    below, above = TransformedL1(a).prox(torch.tensor([limit * 0.9999, limit * 1.0001], dtype=torch.float64), t)
    assert below == 0 < above


@pytest.mark.parametrize("a", [0.1, 1.0, 30.0])
def test_subgradient(check, a):
    check.subgradient(TransformedL1(a), [3.0, -0.7, 1e-6])
    assert TransformedL1(a).subgradient(torch.zeros(1)).item() == 0
    slope = TransformedL1(a).subgradient(torch.tensor([1e-9], dtype=torch.float64)).item()
    assert slope == pytest.approx((a + 1) / a)


def test_between_l0_and_l1():
    few, many = TransformedL1(1e-6), TransformedL1(1e6)
    assert few.value(LINE) == pytest.approx(L0().value(LINE).item(), rel=1e-3)
    assert torch.allclose(few.prox(LINE, 0.7), L0().prox(LINE, 0.7), atol=1e-5)
    assert many.value(LINE) == pytest.approx(L1().value(LINE).item(), rel=1e-3)
    assert torch.allclose(many.prox(LINE, 0.7), L1().prox(LINE, 0.7), atol=1e-5)
    assert torch.allclose(many.prox(LINE.float(), 0.7).double(), L1().prox(LINE, 0.7), atol=1e-5)


@pytest.mark.parametrize("a", [0.0, -1.0, float("inf"), float("nan")])
def test_bad_options(a):
    with pytest.raises(InvalidOption, match="transformed_l1: `a` must be a finite number above 0"):
        TransformedL1(a)
