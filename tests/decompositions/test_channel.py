import torch
from torch import nn

from compressor.decompositions.channel import ChannelWise
from compressor.decompositions.macs import skeleton_macs
from tests.decompositions.cases import seeded


def test_shapes_and_who_has_what():
    layer = nn.Conv2d(4, 6, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2, padding_mode="reflect")
    first, second = ChannelWise().skeleton(layer, (2,))
    assert first.weight.shape == (4, 2, 3, 5) and second.weight.shape == (6, 2, 1, 1)
    assert (first.stride, first.padding, first.dilation) == ((2, 1), (1, 2), (1, 2))
    assert (second.stride, second.padding, second.dilation) == ((1, 1), (0, 0), (1, 1))
    assert first.groups == second.groups == 2
    assert first.bias is None and second.bias is not None
    assert (first.padding_mode, second.padding_mode) == ("reflect", "zeros")


def test_by_hand():
    # Filters (1, 0) and (0, 2) on two pixels: the larger singular value is the second filter's.
    layer = nn.Conv1d(1, 2, 2, bias=False)
    layer.weight.data = torch.tensor([[[1.0, 0.0]], [[0.0, 2.0]]])
    found = ChannelWise().factor(layer).replacement((1,))
    assert found.module(torch.tensor([[[3.0, 5.0]]])).flatten().tolist() == [0.0, 10.0]
    assert round(found.relative_error**2, 6) == 0.2  # 1 of 1 + 4


def test_groups_are_taken_apart_each_by_itself():
    layer = seeded(nn.Conv2d, 4, 6, 3, groups=2, bias=False, dtype=torch.float64)
    module = ChannelWise().factor(layer).replacement((1,)).module
    images = torch.randn(1, 4, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for group in range(2):
        alone = nn.Conv2d(2, 3, 3, bias=False, dtype=torch.float64)
        alone.weight.data = layer.weight.data[3 * group : 3 * group + 3]
        expected = ChannelWise().factor(alone).replacement((1,)).module(images[:, 2 * group : 2 * group + 2])
        torch.testing.assert_close(module(images)[:, 3 * group : 3 * group + 3], expected)


def test_break_even():
    # r < N C k^2 / (C k^2 + N) = 16 * 8 * 9 / (72 + 16) = 13.09
    layer = nn.Conv2d(8, 16, 3, padding=1)
    shape = (1, 8, 6, 6)
    before = 36 * 16 * 72
    macs = {rank: skeleton_macs(ChannelWise().skeleton(layer, (rank,)), [shape]) for rank in (13, 14)}
    assert macs[13] == 36 * 13 * (72 + 16) < before < macs[14]
    assert ChannelWise().max_rank(layer) == 16
