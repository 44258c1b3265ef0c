import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.core.errors import InvalidOption
from compressor.training.penalties.l1 import L1
from compressor.training.penalties.scad import SCAD

LINE = torch.arange(-400, 401, dtype=torch.float64) / 100


@settings(deadline=None, max_examples=150)
@given(st.floats(-6, 6), st.floats(0, 12), st.floats(0.05, 2), st.floats(2.01, 6))
def test_prox_is_the_best_number(check, x, t, strength, a):
    check.number(SCAD(strength, a), x, t)


def test_prox_where_the_pieces_meet(check):
    for t in (1.0, 1.999, 2.0, 3.0, 4.0, 4.001, 9.0):  # a - 1 = 2, a + 1 = 4
        for x in (1.0, 2.0, 2.9999, 3.0, 3.0001, 3.48, 3.5, 4.0, 6.0):
            check.number(SCAD(1.0, 3.0), x, t)


def test_flat_beyond_a_times_the_strength():
    penalty = SCAD(0.5, 3.0)
    assert penalty.value(torch.tensor([1.5])).item() == penalty.value(torch.tensor([99.0])).item() == 0.25 * 4 / 2
    assert penalty.subgradient(torch.tensor([1.5, 99.0])).tolist() == [0, 0]
    assert penalty.prox(torch.tensor([-2.0]), 1.0).item() == -2


def test_the_slope_is_the_strength_up_to_the_strength():
    assert SCAD(0.3).subgradient(torch.tensor([0.0, 1e-9, -0.3])).tolist() == pytest.approx([0, 0.3, -0.3])


def test_subgradient(check):
    check.subgradient(SCAD(0.5, 3.0), [0.4, -0.2, 0.9, -1.4, 1.6, 5.0, 1e-9])


def test_a_large_a_is_l1():
    penalty = SCAD(0.7, 1e7)
    assert torch.allclose(penalty.value(LINE), 0.7 * L1().value(LINE), rtol=1e-5)
    assert torch.allclose(penalty.prox(LINE, 2.0), L1().prox(LINE, 1.4), atol=1e-5)


@pytest.mark.parametrize(("option", "value"), [("strength", -1.0), ("a", 2.0), ("a", float("inf"))])
def test_bad_options(option, value):
    with pytest.raises(InvalidOption, match=f"scad: `{option}` must be"):
        SCAD(**{option: value})
