from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compressor.core.errors import InvalidOption
from compressor.decompositions.tucker2 import Tucker2
from tests.decompositions.cases import layer_cases, seeded


def test_shapes_and_who_has_what():
    layer = nn.Conv2d(8, 12, 3, stride=2, padding=1, dilation=2, groups=2, padding_mode="replicate")
    first, core, last = Tucker2().skeleton(layer, (2, 3))
    assert (
        first.weight.shape == (4, 4, 1, 1) and core.weight.shape == (6, 2, 3, 3) and last.weight.shape == (12, 3, 1, 1)
    )
    assert (core.stride, core.padding, core.dilation, core.padding_mode) == ((2, 2), (1, 1), (2, 2), "replicate")
    assert {part.groups for part in (first, core, last)} == {2}
    assert first.bias is None and core.bias is None and last.bias is not None


def test_a_weight_of_low_ranks_is_kept_whole():
    core = seeded(nn.Conv2d, 2, 3, 3, dtype=torch.float64).weight.detach()
    layer = nn.Conv2d(6, 7, 3, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    outputs, inputs = (torch.randn(n, r, dtype=torch.float64, generator=generator) for n, r in ((7, 3), (6, 2)))
    layer.weight.data = torch.einsum("no,oiyx,ci->ncyx", outputs, core, inputs)
    factors = Tucker2().factor(layer)
    assert [int((spectrum > 0).sum()) for spectrum in factors.spectra] == [2, 3]
    assert factors.replacement((2, 3)).relative_error < 1e-12 < 1e-3 < factors.replacement((2, 2)).relative_error


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_sweeps_never_lose_and_errors_have_their_bounds(data):
    layer, _ = data.draw(layer_cases(dims=(2,)))
    start = Tucker2(sweeps=0).factor(layer)
    ranks = start.bounded(tuple(data.draw(st.integers(1, s.shape[1])) for s in start.spectra))
    errors = [Tucker2(sweeps=n).factor(layer).replacement(ranks).relative_error for n in range(4)]
    assert all(later <= earlier + 1e-10 for earlier, later in pairwise(errors))
    norm = float(layer.weight.detach().norm())
    tails = [float(s[:, r:].square().sum()) / norm**2 for s, r in zip(start.spectra, ranks, strict=True)]
    # Neither unfolding can be met better than by its own singular vectors; the start loses at most both tails.
    assert max(tails) - 1e-10 <= errors[3] ** 2 and errors[0] ** 2 <= sum(tails) + 1e-10


def test_a_sweep_helps_where_the_axes_depend_on_each_other():
    layer = seeded(nn.Conv2d, 6, 6, 3, dtype=torch.float64)
    without, after = (Tucker2(sweeps=n).factor(layer).replacement((2, 2)).relative_error for n in (0, 3))
    assert after < without - 1e-4


def test_ranks_bound_each_other():
    factors = Tucker2().factor(nn.Conv2d(8, 8, (1, 2)))
    assert factors.bounded((8, 1)) == (2, 1) and factors.bounded((1, 8)) == (1, 2)
    assert factors.bounded((8, 8)) == (8, 8) and factors.bounded((0, 0)) == (1, 1)


def test_sweeps_below_zero():
    with pytest.raises(InvalidOption, match="sweeps"):
        Tucker2(sweeps=-1)
