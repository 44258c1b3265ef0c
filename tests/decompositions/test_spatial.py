import torch
from torch import nn

from compressor.decompositions.macs import skeleton_macs
from compressor.decompositions.spatial import SpatialWise


def test_each_axis_keeps_its_own_geometry():
    layer = nn.Conv2d(4, 6, (3, 5), stride=(2, 3), padding=(1, 2), dilation=(1, 2), groups=2, padding_mode="circular")
    first, second = SpatialWise().skeleton(layer, (2,))
    assert first.weight.shape == (4, 2, 3, 1) and second.weight.shape == (6, 2, 1, 5)
    assert (first.stride, first.padding, first.dilation) == ((2, 1), (1, 0), (1, 1))
    assert (second.stride, second.padding, second.dilation) == ((1, 3), (0, 2), (1, 2))
    assert first.bias is None and second.bias is not None
    assert first.padding_mode == second.padding_mode == "circular"


def test_three_dimensions_split_off_the_first():
    first, second = SpatialWise().skeleton(nn.Conv3d(2, 4, (3, 5, 7)), (1,))
    assert first.kernel_size == (3, 1, 1) and second.kernel_size == (1, 5, 7)


def test_one_dimension_cannot_be_split():
    assert "must be a plain Conv2d or Conv3d, but got Conv1d" in SpatialWise().refusal(nn.Conv1d(2, 2, 3))


def test_by_hand():
    # The kernel diag(2, 1) is 2 (1, 0)' (1, 0) + (0, 1)' (0, 1): rank 1 keeps the first.
    layer = nn.Conv2d(1, 1, 2, bias=False)
    layer.weight.data = torch.tensor([[[[2.0, 0.0], [0.0, 1.0]]]])
    found = SpatialWise().factor(layer).replacement((1,))
    assert round(found.module(torch.tensor([[[[3.0, 5.0], [7.0, 11.0]]]])).item(), 5) == 6.0
    assert round(found.relative_error**2, 6) == 0.2


def test_break_even():
    # r < N C k / (C + N) = 16 * 8 * 3 / 24 = 16, the same number being no saving.
    layer = nn.Conv2d(8, 16, 3, padding=1)
    macs = {rank: skeleton_macs(SpatialWise().skeleton(layer, (rank,)), [(1, 8, 6, 6)]) for rank in (15, 16)}
    assert macs[15] < macs[16] == 36 * 16 * 72
    assert SpatialWise().max_rank(layer) == 24
