import pytest
import torch
from torch import nn

from compressor.core.errors import UnsupportedModel
from compressor.training.regularizers._scales import NO_NORM, SHARED, TOO_FEW_NORMS, found_scales


def test_reads_and_writes_every_scale_where_it_is(nets):
    model, groups = nets.build("normed")
    scales, left_alone = found_scales("test", model, groups)
    assert scales.sizes == {"stem": 6, "conv1": 5, "conv3": 5} and not left_alone
    assert scales.inside.all()
    before = scales.read()
    scales.write(2 * before)
    assert torch.equal(scales.read(), 2 * before)
    scales.write(before)
    lengths = scales.by_group(scales.lengths(before))
    stream = torch.stack([model.bn.weight, model.bn2.weight, model.bn4.weight])
    assert torch.allclose(lengths["stem"], stream.norm(dim=0)) and torch.allclose(lengths["conv3"], model.bn3.weight)


def test_spread_gives_each_scale_the_value_of_its_channel(nets):
    model, groups = nets.build("normed")
    scales, _ = found_scales("test", model, groups)
    scales.write(scales.spread(torch.arange(16.0)))
    for norm in (model.bn, model.bn2, model.bn4):
        assert norm.weight.tolist() == [0, 1, 2, 3, 4, 5]
    assert model.bn1.weight.tolist() == [6, 7, 8, 9, 10] and model.bn3.weight.tolist() == [11, 12, 13, 14, 15]


def test_one_norm_of_three_groups(nets):
    model, groups = nets.build("concat")
    scales, left_alone = found_scales("test", model, groups)
    assert scales.sizes == {"a": 4, "b": 6, "c": 5} and left_alone == {"read": NO_NORM, "twice": NO_NORM}
    scales.write(scales.spread(torch.arange(15.0)))
    assert model.bn.weight.tolist() == list(range(15))


def test_scales_outside_the_groups_are_told_apart(nets):
    model, groups = nets.build("concat")
    scales, _ = found_scales("test", model, [nets.named(groups, "b")])
    assert scales.inside.tolist() == [False] * 4 + [True] * 6 + [False] * 5
    assert scales.spread(torch.ones(6)).tolist() == [0] * 4 + [1] * 6 + [0] * 5


def test_a_group_that_something_enters_past_the_norms_is_left_alone(nets):
    """conv4 adds to the stream without a norm: no scale could switch a channel off."""
    model, groups = nets.build("residual")
    scales, left_alone = found_scales("test", model, groups)
    assert list(scales.sizes) == ["conv1"] and left_alone == {"stem": TOO_FEW_NORMS, "conv3": NO_NORM}


def test_a_frozen_norm_counts_as_none(nets):
    model, groups = nets.build("normed")
    model.bn2.weight.requires_grad_(False)
    _, left_alone = found_scales("test", model, groups)
    assert left_alone == {"stem": TOO_FEW_NORMS}


def test_a_second_group_on_the_same_scales_is_left_alone(nets):
    model, groups = nets.build("normed")
    _, left_alone = found_scales("test", model, [groups[0], groups[0]])
    assert left_alone == {groups[0].name: SHARED}


def test_no_norms_at_all(nets):
    model, groups = nets.build("flattened")
    with pytest.raises(UnsupportedModel, match=r"test: a group must.*looked at: conv, fc1.*Use group_lasso"):
        found_scales("test", model, groups)
    with pytest.raises(UnsupportedModel, match="no groups at all"):
        found_scales("test", model, [])


def test_by_norm(nets):
    model, groups = nets.build("normed")
    scales, _ = found_scales("test", model, groups)
    model.bn2.weight.data[3] = model.bn4.weight.data[3] = model.bn4.weight.data[0] = 0.0
    flagged, sees = scales.by_norm(scales.read() == 0)["stem"]
    assert flagged.nonzero().tolist() == [[1, 3], [2, 0], [2, 3]] and sees.all()


def test_gradients_of_norms_that_took_no_part(nets):
    model, groups = nets.build("normed")
    scales, _ = found_scales("test", model, groups)
    model.bn.weight.grad = torch.ones(6)
    scales.add_to_gradients(scales.spread(torch.arange(16.0)))
    assert model.bn.weight.grad.tolist() == [1, 2, 3, 4, 5, 6] and model.bn2.weight.grad is None


def test_half_precision_models_keep_what_is_not_theirs(nets):
    model, groups = nets.build("concat")
    model.bfloat16()
    before = model.bn.weight.detach().clone()
    scales, _ = found_scales("test", model, [nets.named(groups, "b")])
    assert scales.read().dtype == torch.float32
    scales.write(scales.read())
    assert torch.equal(model.bn.weight, before) and isinstance(model.bn, nn.BatchNorm2d)
