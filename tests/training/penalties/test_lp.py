import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.core.errors import InvalidOption
from compressor.training.penalties.l0 import L0
from compressor.training.penalties.l1 import L1
from compressor.training.penalties.lp import Lp

LINE = torch.arange(-400, 401, dtype=torch.float64) / 100


@settings(deadline=None, max_examples=100)
@given(st.floats(-5, 5), st.floats(0, 5), st.floats(0.05, 1) | st.sampled_from([0.25, 0.5, 0.75, 1.0]))
def test_prox_is_the_best_number(check, x, t, p):
    check.number(Lp(p), x, t)


@settings(deadline=None, max_examples=30)
@given(st.floats(1e-3, 5))
def test_closed_form_at_one_half_is_the_root_that_newton_finds(t):
    x = LINE.abs() + 1.5001 * t ** (2 / 3)
    assert torch.allclose(Lp(0.5).prox(x, t), Lp(0.5)._root(x, t, t ** (2 / 3)), rtol=1e-12, atol=0)


def test_zero_begins_at_three_halves_of_t_to_the_two_thirds():
    limit = 1.5 * 0.3 ** (2 / 3)
    found = Lp(0.5).prox(torch.tensor([limit * 0.9999, limit * 1.0001], dtype=torch.float64), 0.3)
    assert found[0] == 0 and found[1] == pytest.approx(0.3 ** (2 / 3), rel=1e-3)


@pytest.mark.parametrize("p", [0.25, 0.5, 0.9])
def test_single_precision(p):
    exact = Lp(p).prox(LINE, 0.2)
    assert torch.allclose(Lp(p).prox(LINE.float(), 0.2).double(), exact, atol=2e-6)


@pytest.mark.parametrize("p", [0.25, 0.5, 0.75, 1.0])
def test_subgradient(check, p):
    check.subgradient(Lp(p), [3.0, -0.7, 0.002])


def test_subgradient_near_zero_is_finite():
    found = Lp(0.5, floor=0.01).subgradient(torch.tensor([0.0, 1e-30, -0.001, 0.01]))
    assert found.tolist() == pytest.approx([0, 5, -5, 5])  # 1/2 * 0.01^(-1/2)


def test_between_l0_and_l1():
    one = Lp(1.0)
    assert torch.allclose(one.value(LINE), L1().value(LINE))
    assert torch.equal(one.subgradient(LINE), L1().subgradient(LINE))
    assert torch.allclose(one.prox(LINE, 0.7), L1().prox(LINE, 0.7))
    none = Lp(1e-6)
    assert none.value(LINE) == pytest.approx(L0().value(LINE).item(), rel=1e-4)
    assert torch.allclose(none.prox(LINE, 0.7), L0().prox(LINE, 0.7), atol=1e-4)


def test_no_step_changes_nothing():
    assert torch.equal(Lp(0.3).prox(LINE, 0.0), LINE)


@pytest.mark.parametrize(("option", "value"), [("p", 0.0), ("p", 1.5), ("p", float("nan")), ("floor", 0.0)])
def test_bad_options(option, value):
    with pytest.raises(InvalidOption, match=f"lp: `{option}` must be"):
        Lp(**{option: value})
