"""Sums, pieces, single positions and padding."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.graph.operators.cases import Tokens, cut_and_silenced, make, named, why_blocked

PASSED = [
    ("cat", lambda m, x: torch.cat([x, x * 2], 1)),
    ("stack", lambda m, x: torch.stack([x, x * 2])),
    ("split", lambda m, x: sum(x.split(2, 1)[:2])),
    ("split_with_sizes", lambda m, x: x.split([2, 3], 1)[1]),
    ("slice", lambda m, x: x[:, 1:4]),
    ("slice", lambda m, x: x[:, ::2]),
    ("select", lambda m, x: x[:, 3]),
    ("unbind", lambda m, x: x.unbind(1)[2]),
    ("constant_pad_nd", lambda m, x: functional.pad(x, (0, 0, 1, 2))),
    ("constant_pad_nd", lambda m, x: functional.pad(x, (0, 0, 0, -2))),
    ("roll", lambda m, x: x.roll(2, 1)),
    ("flip", lambda m, x: x.flip(1)),
    ("slice_scatter", lambda m, x: torch.slice_scatter(x, x[:, :2] * 3, 1, 1, 3)),
    ("select_scatter", lambda m, x: torch.select_scatter(x, x[:, 0] * 3, 1, 2)),
]


@pytest.mark.parametrize(("operator", "between"), PASSED, ids=named(PASSED))
def test_axes_that_are_not_touched_pass(operator, between):
    assert cut_and_silenced(make(Tokens, between), f"aten.{operator}") == {"stem": 8, "read": 7}


def into_slice(m, x):
    return torch.slice_scatter(torch.cat([x, m.other(x)], 2), x * 3, 2, 0, x.shape[2])


# operator, between, width of what is read, groups beside `read`
MOVED = [
    ("cat", lambda m, x: torch.cat([x, m.other(x), x], 2), 22, {"stem": 8, "other": 6}),
    ("cat", lambda m, x: torch.cat([x, torch.arange(3).expand(2, 5, 3)], 2), 11, {"stem": 8}),
    ("cat", lambda m, x: torch.cat([x, x.new_zeros(2, 5, 0)], 2), 8, {"stem": 8}),
    ("stack", lambda m, x: torch.stack([x, m.again(x)]), 8, {"stem": 8}),
    ("split", lambda m, x: x.chunk(2, 2)[0] * x.chunk(2, 2)[1].sigmoid(), 4, {"stem": 4}),
    ("split", lambda m, x: sum(x.chunk(4, 2)), 2, {"stem": 2}),
    ("split", lambda m, x: x.chunk(1, 2)[0], 8, {"stem": 8}),
    ("split_with_sizes", lambda m, x: x.split([m.a, m.b], 2)[1], 5, {"stem:1": 5, "stem:2": 3}),
    ("slice", lambda m, x: torch.cat([x[..., : m.a], x[..., m.a :] * 2], 2), 8, {"stem:1": 3, "stem:2": 5}),
    ("glu", lambda m, x: functional.glu(x, -1), 4, {"stem": 4}),
    ("constant_pad_nd", lambda m, x: functional.pad(x, (1, 2)), 11, {"stem": 8}),
    ("slice_scatter", into_slice, 14, {"stem": 8, "other": 6}),
]


@pytest.mark.parametrize(("operator", "between", "out", "groups"), MOVED, ids=named(MOVED))
def test_positions_follow_the_elements(operator, between, out, groups):
    model = make(
        Tokens, between, out=out, other=lambda: nn.Linear(8, 6), again=lambda: nn.Linear(8, 8, bias=False), a=3, b=5
    )
    assert cut_and_silenced(model, f"aten.{operator}") == {**groups, "read": 7}


FROZEN = [
    ("split", lambda m, x: x.split(3, 2)[0], 3, "it is split into unequal pieces by one number"),
    ("slice", lambda m, x: x[..., ::2], 4, "every so many channels are read by number"),
    ("select", lambda m, x: x * x[..., 3:4] + x[..., 3].unsqueeze(2), 8, "its positions are read by number"),
    ("unbind", lambda m, x: x.unbind(2)[1].unsqueeze(2), 1, "its positions are read by number"),
    ("constant_pad_nd", lambda m, x: functional.pad(x, (0, -2)), 6, "it is cropped by number"),
    ("roll", lambda m, x: x.roll(1, 2), 8, "its positions are shifted by number"),
    ("roll", lambda m, x: x.roll(1), 8, "its positions are shifted by number"),
    ("flip", lambda m, x: x.flip(2), 8, "its positions are shifted by number"),
    ("slice_scatter", lambda m, x: torch.slice_scatter(x, x[..., :4], 2, 0, 8, 2), 8, "are written by number"),
    ("select_scatter", lambda m, x: torch.select_scatter(x, x.mean(2), 2, 3), 8, "its positions are written by number"),
]


@pytest.mark.parametrize(("operator", "between", "out", "what"), FROZEN, ids=named(FROZEN))
def test_what_stays_says_why(operator, between, out, what):
    reason = why_blocked(make(Tokens, between, out=out))
    assert what in reason and f"(aten.{operator} at operators/test_parts.py:" in reason
