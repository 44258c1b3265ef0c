import torch
from torch import nn

from compressor.decompositions.depthwise import BranchSum, DepthwiseSeparable
from compressor.decompositions.macs import skeleton_macs
from tests.decompositions.cases import seeded


def test_shapes_and_who_has_what():
    layer = nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2)
    skeleton = DepthwiseSeparable().skeleton(layer, (2,))
    assert isinstance(skeleton, BranchSum) and len(skeleton.branches) == 2
    for branch, (pointwise, depthwise) in enumerate(skeleton.branches):
        assert pointwise.weight.shape == (6, 2, 1, 1) and pointwise.groups == 2 and pointwise.bias is None
        assert depthwise.weight.shape == (6, 1, 3, 3) and depthwise.groups == 6
        assert (depthwise.stride, depthwise.padding, depthwise.dilation) == ((2, 2), (1, 1), (2, 2))
        assert (depthwise.bias is None) == (branch > 0)


def test_one_pair_needs_no_sum():
    assert type(DepthwiseSeparable().skeleton(nn.Conv2d(4, 6, 3), (1,))) is nn.Sequential


def test_by_hand():
    # The first filter's kernels are (2, 0) and (0, 1): one pair keeps the larger. The second filter's are both (1, 1).
    layer = nn.Conv1d(2, 2, 2, bias=False)
    layer.weight.data = torch.tensor([[[2.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]])
    found = DepthwiseSeparable().factor(layer).replacement((1,))
    result = found.module(torch.tensor([[[3.0, 5.0], [7.0, 11.0]]])).flatten()
    assert result.round(decimals=4).tolist() == [6.0, 26.0]
    assert round(found.relative_error**2, 6) == round(1 / 9, 6)


def test_branches_are_added():
    layer = seeded(nn.Conv2d, 3, 5, 3, dtype=torch.float64)
    module = DepthwiseSeparable().factor(layer).replacement((3,)).module
    images = torch.ones(1, 3, 4, 4, dtype=torch.float64)
    apart = [branch(images) for branch in module.branches]
    torch.testing.assert_close(module(images), apart[0] + apart[1] + apart[2])


def test_break_even():
    # r < C k^2 / (C + k^2) = 8 * 9 / 17 = 4.2
    layer = nn.Conv2d(8, 16, 3, padding=1)
    macs = {rank: skeleton_macs(DepthwiseSeparable().skeleton(layer, (rank,)), [(1, 8, 6, 6)]) for rank in (4, 5)}
    assert macs[4] < 36 * 16 * 72 < macs[5]
    assert DepthwiseSeparable().max_rank(layer) == 8
