"""Operators that only rearrange: the axes go with their elements, or stay for a reason."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.graph.operators.cases import Images, Tokens, cut_and_silenced, make, named, why_blocked


def heads(m, x):
    """(2, 5, heads * dim) -> (2, 5, dim * heads)"""
    x = x.unflatten(2, (m.n_heads, -1)).transpose(2, 3)
    return x.reshape(2, 5, x.shape[2] * x.shape[3])


def into_zeros(m, x):
    out = x.new_zeros(2, 6, x.shape[2])
    out[:, 1:] = x
    return out


def into_a_part(m, x):
    out = torch.cat([x, m.other(x)], 2)
    out[:, :, : x.shape[2]] = x * 2
    return out


def complex_and_back(m, x):
    return torch.view_as_real(torch.view_as_complex(torch.stack([x, x * 2], -1)) * (1 + 2j))[..., 1]


def in_place(change):
    """`change` is done to a fresh tensor."""

    def between(m, x):
        x = x[:, :1] * 1
        change(x)
        return x

    return between


PASSED = [
    ("clone", lambda m, x: x.clone()),
    ("_to_copy", lambda m, x: x.float().double()),
    ("zeros_like", lambda m, x: x + torch.zeros_like(x)),
    ("tril", lambda m, x: torch.ones(5, 5, dtype=x.dtype).tril() @ x),
    ("copy_", into_zeros),
    ("view", lambda m, x: x.flatten(0, 1)),
    ("view", lambda m, x: x.view(torch.int64).view(x.dtype)),
    ("view_as_complex", complex_and_back),
    ("permute", lambda m, x: x.permute(1, 0, 2)),
    ("transpose", lambda m, x: x.transpose(0, 1)),
    ("transpose_", in_place(lambda x: x.transpose_(0, 1))),
    ("t", lambda m, x: x[0].t().t()),
    ("t_", lambda m, x: x[0].t().t_()),
    ("unsqueeze", lambda m, x: x.unsqueeze(-2)),
    ("unsqueeze_", in_place(lambda x: x.unsqueeze_(1))),
    ("squeeze", lambda m, x: x[:1].squeeze()),
    ("squeeze", lambda m, x: x[:, :1].squeeze(1)),
    ("squeeze_", in_place(lambda x: x.squeeze_())),
    ("squeeze_", in_place(lambda x: x.squeeze_(0))),  # nothing to squeeze
    ("expand", lambda m, x: x.mean(1, keepdim=True).expand(-1, 5, -1)),
]


@pytest.mark.parametrize(("operator", "between"), PASSED, ids=named(PASSED))
def test_axes_that_are_not_touched_pass(operator, between):
    assert cut_and_silenced(make(Tokens, between), f"aten.{operator}") == {"stem": 8, "read": 7}


# operator, between, width of what is read, groups beside `read`
MOVED = [
    ("view", heads, 8, {"stem:1": 2, "stem:2": 4}),
    ("view", lambda m, x: x.flatten(1).unflatten(1, (5, -1)), 8, {"stem": 8}),
    ("expand", lambda m, x: x * m.one(x).expand_as(x), 8, {"stem": 8}),
    ("repeat", lambda m, x: x.repeat(1, 1, 3), 24, {"stem": 8}),
    ("repeat", lambda m, x: x + m.one(x).repeat(1, 1, x.shape[2]), 8, {"stem": 8}),
    ("zeros", lambda m, x: torch.cat([x, x + torch.zeros(x.shape[2], dtype=x.dtype)], 2), 16, {"stem": 8}),
    ("copy_", into_a_part, 14, {"stem": 8, "other": 6}),
]


@pytest.mark.parametrize(("operator", "between", "out", "groups"), MOVED, ids=named(MOVED))
def test_positions_follow_the_elements(operator, between, out, groups):
    model = make(Tokens, between, out=out, other=lambda: nn.Linear(8, 6), one=lambda: nn.Linear(8, 1), n_heads=2)
    assert cut_and_silenced(model, f"aten.{operator}") == {**groups, "read": 7}


def test_pooling_to_one_pixel_in_another_memory_format():
    def between(m, x):
        return functional.adaptive_avg_pool2d(x.contiguous(memory_format=torch.channels_last), 1)

    assert cut_and_silenced(make(Images, between), "aten.as_strided_") == {"stem": 8, "read": 7}


NO_RULE = "the graph has no rule for an operator that it goes through"
FROZEN = [
    ("tril", lambda m, x: x @ x[0].tril(), 5, "its rows and columns are compared by number"),
    ("view", lambda m, x: x.flatten(1).unflatten(1, (4, 10)), 10, "it divides channels across an earlier division"),
    ("view", lambda m, x: x.view(torch.int32).to(x.dtype), 16, "its bytes are read as numbers of another size"),
    ("view_as_complex", lambda m, x: torch.view_as_complex(x).real.unsqueeze(2), 1, "real and imaginary parts"),
    ("as_strided", lambda m, x: x.as_strided((2, 5, 4), (40, 8, 2)), 4, NO_RULE),
    ("as_strided_", lambda m, x: (x * 1).as_strided_((2, 5, 4), (40, 8, 2)), 4, NO_RULE),
    ("resize_", lambda m, x: (x * 1).resize_(2, 5, 4), 4, NO_RULE),
    ("squeeze_", lambda m, x: x + torch.arange(8).unsqueeze_(0), 8, "it meets an axis of fixed size"),
]


@pytest.mark.parametrize(("operator", "between", "out", "what"), FROZEN, ids=named(FROZEN))
def test_what_stays_says_why(operator, between, out, what):
    reason = why_blocked(make(Tokens, between, n={"tril": 5, "view_as_complex": 2}.get(operator, 8), out=out))
    blocker = "add" if "fixed size" in what else operator
    assert what in reason and f"(aten.{blocker} at operators/test_layout.py:" in reason
