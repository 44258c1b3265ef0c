"""The table of rules, pointwise operators with broadcasting, and operators that nobody knows."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from compressor.graph.operators import call, rule_for
from tests.graph.operators.cases import Images, Tokens, cut_and_silenced, make, why_blocked

SAME = {"stem": 8, "read": 7}

POINTWISE = [
    ("relu", lambda m, x: torch.relu(x)),
    ("relu_", lambda m, x: x.mul(2).relu_()),
    ("gelu", lambda m, x: functional.gelu(x)),
    ("hardswish_", lambda m, x: functional.hardswish(x + 1, inplace=True)),
    ("clamp", lambda m, x: x.clamp(-1, 1)),
    ("pow", lambda m, x: x**2),
    ("masked_fill", lambda m, x: x.masked_fill(torch.ones(5, 1, dtype=torch.bool).tril(), 0.5)),
    ("where", lambda m, x: torch.where(x > 0, x, x * 0.1)),
    ("bitwise_and", lambda m, x: x * ((x > -1) & (x < 1))),
]
OF_TWO = [
    ("add", lambda m, x: x + m.other(x.new_ones(2, 5, 6))),
    ("mul", lambda m, x: x * m.other(x.new_ones(6))),  # (2, 5, 8) * (8)
    ("addcmul", lambda m, x: torch.addcmul(x, x, m.other(x.new_ones(1, 6)))),
    ("lerp", lambda m, x: torch.lerp(x, m.other(x.new_ones(1, 6)), 0.3)),
    ("maximum", lambda m, x: torch.maximum(x, m.other(x.new_ones(6)))),
    ("add_", lambda m, x: m.other(x.new_ones(2, 5, 6)).add_(x)),
]


def test_every_rule_is_of_an_operator_that_exists():
    pytest.importorskip("torchvision")
    for name in call._RULES:
        namespace, packet, *overload = name.split(".")
        found = getattr(getattr(torch.ops, namespace), packet)
        assert not overload or overload[0] in found.overloads(), name


def test_the_overload_goes_before_the_name_and_that_before_its_form_in_place():
    aten = torch.ops.aten
    assert rule_for(aten.max.dim) is not rule_for(aten.maximum.default) is call.pointwise
    assert rule_for(aten.empty.memory_format) is rule_for(aten.zeros.default)
    assert rule_for(aten.relu_.default) is rule_for(aten.add_.Tensor) is call.pointwise
    assert rule_for(aten.linalg_inv_ex.default) is None


@pytest.mark.parametrize(("operator", "between"), POINTWISE, ids=[name for name, _ in POINTWISE])
def test_one_tensor_element_by_element(operator, between):
    assert cut_and_silenced(make(Tokens, between), f"aten.{operator}") == SAME


@pytest.mark.parametrize(("operator", "between"), OF_TWO, ids=[name for name, _ in OF_TWO])
def test_axes_that_meet_are_one(operator, between):
    model = make(Tokens, between, other=lambda: nn.Linear(6, 8))
    assert cut_and_silenced(model, f"aten.{operator}") == SAME  # `other` loses what `stem` loses


def test_slopes_and_gates_are_matched_from_the_right():
    model = make(Images, lambda m, x: m.prelu(x), prelu=lambda: nn.PReLU(8))
    assert cut_and_silenced(model, "aten._prelu_kernel") == SAME
    model = make(Images, lambda m, x: x * m.gate(x.mean((2, 3), keepdim=True)), gate=lambda: nn.Conv2d(8, 8, 1))
    assert cut_and_silenced(model, "aten.mul") == SAME


def test_an_axis_that_meets_one_of_fixed_size():
    reason = why_blocked(make(Tokens, lambda m, x: x + torch.arange(8)))
    assert reason.startswith("it meets an axis of fixed size (aten.add at operators/test_call.py:")


def test_an_operator_without_a_rule():
    model = make(Tokens, lambda m, x: torch.linalg.matrix_exp(x.mT @ x), out=8)
    assert why_blocked(model).startswith(
        "the graph has no rule for an operator that it goes through (aten.linalg_matrix_exp at operators/test_call.py:"
    )
    assert cut_and_silenced(model, "aten.linalg_matrix_exp") == {"read": 7}


def test_what_runs_in_inference_mode_is_taken_apart():
    """There PyTorch shows whole layers, which are no operators of their own."""

    def between(m, x):
        with torch.inference_mode():
            return m.other(functional.layer_norm(x, x.shape[-1:])).flatten(1).unflatten(1, (5, -1))

    model = make(Tokens, between, other=lambda: nn.Linear(8, 8))
    assert cut_and_silenced(model, "aten.addmm") == {"stem": 8, "other": 8, "read": 7}
