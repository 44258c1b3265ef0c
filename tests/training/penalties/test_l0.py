import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.training.penalties.l0 import L0


@settings(deadline=None, max_examples=60)
@given(st.floats(-5, 5), st.floats(0, 5))
def test_prox_is_the_best_number(check, x, t):
    check.number(L0(), x, t)


def test_keeps_what_is_above_the_root_of_twice_t():
    # sqrt(2 * 0.1 / 2.5): a strength of 0.1 and a quadratic of weight 2.5
    limit, t = 0.08**0.5, 0.1 / 2.5
    x = torch.tensor([limit * 1.001, limit * 0.999, -limit * 1.001, 0.0], dtype=torch.float64)
    assert L0().prox(x, t).tolist() == [x[0].item(), 0, x[2].item(), 0]


def test_value_counts_and_has_no_slope():
    x = torch.tensor([3.0, 0.0, -1e-9])
    assert L0().value(x).item() == 2
    assert L0().subgradient(x).tolist() == [0, 0, 0]
