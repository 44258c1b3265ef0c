import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compressor.decompositions.linear import LinearPair
from compressor.decompositions.macs import skeleton_macs
from tests.decompositions.cases import seeded


@settings(max_examples=20, deadline=None)
@given(n_in=st.integers(1, 6), n_out=st.integers(1, 6), bias=st.booleans(), seed=st.integers(0, 100))
def test_full_rank_computes_the_same_on_any_axes(n_in, n_out, bias, seed):
    layer = seeded(nn.Linear, n_in, n_out, bias, dtype=torch.float64, seed=seed)
    given_ = torch.randn(2, 3, n_in, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    found = LinearPair().factor(layer).replacement((min(n_in, n_out),))
    torch.testing.assert_close(found.module(given_), layer(given_))
    first, second = found.module
    assert first.bias is None and (second.bias is not None) == bias


def test_eckart_young_and_break_even():
    layer = seeded(nn.Linear, 12, 6, dtype=torch.float64)
    found = LinearPair().factor(layer).replacement((2,))
    first, second = found.module
    lost = layer.weight - second.weight @ first.weight
    torch.testing.assert_close(lost.square().sum(), torch.linalg.svdvals(layer.weight)[2:].square().sum())
    # r < N C / (N + C) = 72 / 18 = 4
    macs = [skeleton_macs(LinearPair().skeleton(layer, (rank,)), [(1, 12)]) for rank in (3, 4)]
    assert macs == [54, 72]
    assert LinearPair().max_rank(layer) == 6
