"""Silencing: the whole network computes as if channels did not exist, and is itself again afterwards."""

import pytest
import torch
from torch import nn

from compressor.core.groups import ChannelGroup, GroupMember, Role
from compressor.surgery.masking import silenced
from tests.networks import LayerNorm2d


def group(*members, n=4):
    channels = tuple(range(n))
    return ChannelGroup("g", n, tuple(GroupMember(layer, "", role, channels, channels, ()) for layer, role in members))


def run(model, keep, x, *members, cut_model=None):
    with torch.no_grad(), silenced(model, [group(*members)], {"g": keep}, cut_model or model):
        inside = model(x)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    return inside


def test_biases_and_activations_at_zero_are_silenced():
    model = nn.Sequential(nn.Linear(2, 4), nn.Sigmoid(), nn.Linear(4, 1, bias=False))  # sigmoid(0) is one half
    x = torch.randn(3, 2)
    found = run(model, [1, 3], x, ("0", Role.PRODUCER), ("2", Role.CONSUMER))
    by_hand = torch.sigmoid(x @ model[0].weight[[1, 3]].T + model[0].bias[[1, 3]]) @ model[2].weight[:, [1, 3]].T
    assert torch.allclose(found, by_hand)
    assert not torch.allclose(found, model(x))


def test_what_passes_channels_on():
    model = nn.Sequential(nn.BatchNorm2d(4)).eval()
    nn.init.constant_(model[0].bias, 3.0)
    found = run(model, [0, 2], torch.zeros(1, 4, 2, 2), ("0", Role.CHANNELWISE))
    assert found[0, :, 0, 0].tolist() == [3, 0, 3, 0]


@pytest.mark.parametrize("norm", [nn.GroupNorm(1, 4), LayerNorm2d(4)])
def test_norms_see_the_kept_channels_only(norm):
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    small = nn.GroupNorm(1, 2) if isinstance(norm, nn.GroupNorm) else LayerNorm2d(2)
    x = torch.randn(2, 4, 3, 3)
    found = run(nn.Sequential(norm), [1, 2], x, ("0", Role.CHANNELWISE), cut_model=nn.Sequential(small))
    small.weight.data, small.bias.data = norm.weight.data[[1, 2]], norm.bias.data[[1, 2]]
    assert torch.allclose(found[:, [1, 2]], small(x[:, [1, 2]]), atol=1e-6)
    assert not found[:, [0, 3]].any()


def test_unbatched_axes():
    """The channel axis is counted from the end, so that inputs with more or fewer axes work."""
    for model, x in ((nn.Linear(3, 4), torch.randn(2, 5, 6, 3)), (nn.Conv1d(3, 4, 1), torch.randn(3, 7))):
        wrapped = nn.Sequential(model)
        found = run(wrapped, [0], x, ("0", Role.PRODUCER))
        axis = -1 if isinstance(model, nn.Linear) else -2
        assert found.index_select(axis, torch.tensor([0])).any()
        assert not found.index_select(axis, torch.tensor([1, 2, 3])).any()


def test_hooks_go_when_the_model_raises():
    model = nn.Sequential(nn.Linear(2, 4))
    with pytest.raises(RuntimeError), silenced(model, [group(("0", Role.PRODUCER))], {"g": [0]}, model):
        model(torch.zeros(1, 3))
    assert not model[0]._forward_hooks
