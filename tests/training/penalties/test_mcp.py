import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.core.errors import InvalidOption
from compressor.training.penalties.l1 import L1
from compressor.training.penalties.mcp import MCP

LINE = torch.arange(-400, 401, dtype=torch.float64) / 100


@settings(deadline=None, max_examples=120)
@given(st.floats(-5, 5), st.floats(0, 8), st.floats(0.05, 2), st.floats(1.01, 6))
def test_prox_is_the_best_number(check, x, t, strength, a):
    check.number(MCP(strength, a), x, t)


def test_prox_where_the_pieces_meet(check):
    for t in (1.0, 1.999, 2.0, 2.001):
        for x in (1.0, 1.9999, 2.0, 2.0001, 2.83):
            check.number(MCP(1.0, 2.0), x, t)


def test_flat_beyond_a_times_the_strength():
    penalty = MCP(0.5, 3.0)
    assert penalty.value(torch.tensor([1.5])).item() == penalty.value(torch.tensor([99.0])).item() == 3 * 0.25 / 2
    assert penalty.subgradient(torch.tensor([1.5, 99.0])).tolist() == [0, 0]
    assert penalty.prox(torch.tensor([-2.0]), 1.0).item() == -2


def test_the_strength_is_inside():
    """The slope at 0 is the strength, and twice the strength is more than twice the penalty."""
    assert MCP(0.3).subgradient(torch.tensor([1e-9, 0.0])).tolist() == pytest.approx([0.3, 0])
    x = torch.tensor([1.0])
    assert MCP(0.6).value(x) > 2 * MCP(0.3).value(x)


def test_subgradient(check):
    check.subgradient(MCP(0.5, 2.0), [0.9, -0.2, 1.1, 5.0, 1e-9])


def test_a_large_a_is_l1():
    penalty = MCP(0.7, 1e7)
    assert torch.allclose(penalty.value(LINE), 0.7 * L1().value(LINE))
    assert torch.allclose(penalty.prox(LINE, 2.0), L1().prox(LINE, 1.4), atol=1e-5)


@pytest.mark.parametrize(("option", "value"), [("strength", 0.0), ("a", 1.0), ("a", float("nan"))])
def test_bad_options(option, value):
    with pytest.raises(InvalidOption, match=f"mcp: `{option}` must be"):
        MCP(**{option: value})
