"""The pre-flight: what is found, and what is refused with its reasons."""

import pytest
import torch
from torch import nn

from benchmarks.cifar_resnet import resnet20
from compressor.core.errors import NothingPrunable, UnsupportedModel
from compressor.core.progress import SilentProgress
from compressor.runs.coverage import cover
from exporters.signature import ExampleInputs
from tests import networks
from tests.networks import Chain, images, seeded


class Listener(SilentProgress):
    def __init__(self):
        self.notes = []

    def note(self, sentence):
        self.notes.append(sentence)


def covered(model, tensor=None, **options):
    return cover(model, ExampleInputs.of(images() if tensor is None else tensor, model), **options)


def test_every_channel_is_in_a_group_or_has_a_reason():
    coverage = covered(seeded(resnet20), images(side=16))
    said = {member.layer for group in coverage.groups for member in group.members}
    said |= {layer for group in coverage.blocked for layer in group.layers}
    layers = {name for name, module in seeded(resnet20).named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))}
    assert layers <= said and len(coverage.groups) == 10
    assert all(group.reason and group.macs > 0 for group in coverage.blocked)
    assert 0.9 < coverage.prunable_macs_share <= 1
    assert coverage.group_macs.keys() == {group.name for group in coverage.groups}


def test_little_to_prune_is_said():
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 6), nn.Softmax(1), nn.Linear(6, 200))
    listener = Listener()
    assert covered(model, torch.randn(2, 6), progress=listener).prunable_macs_share < 0.2
    assert listener.notes == ["Only 4% of the MACs can be pruned; `compress inspect` says why."]


def test_nothing_prunable_names_the_reasons():
    with pytest.raises(NothingPrunable, match=r"stem: each of its channels depends.*head: its") as caught:
        covered(seeded(lambda: Chain(nn.Softmax(1))), ignore=["read"])
    assert caught.value.exit_code == 4


def test_next_to_nothing_is_refused():
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 6), nn.Softmax(1), nn.Linear(6, 2000))
    with pytest.raises(NothingPrunable, match=r"Only 0\.4% of the MACs can be pruned. 4: its channels"):
        covered(model, torch.randn(2, 6))


def test_kinds_that_are_not_named_stay():
    model = seeded(networks.Fused)
    coverage = covered(model, torch.randn(2, 5, 12), prune=("heads",))
    assert [group.kind for group in coverage.groups] == ["heads"]
    reasons = {group.name: group.reason for group in coverage.blocked}
    assert reasons["proj"] == "it is of kind mlp, and --prune names heads."
    assert coverage.prunable_macs_share < covered(model, torch.randn(2, 5, 12)).prunable_macs_share
    with pytest.raises(NothingPrunable, match="it is of kind head_dim, and --prune names conv"):
        covered(model, torch.randn(2, 5, 12), prune=("conv",))


def test_no_layer_with_channels():
    with pytest.raises(UnsupportedModel, match=r"no convolution or linear layer.*\(it holds Flatten, ReLU\)"):
        covered(nn.Sequential(nn.ReLU(), nn.Flatten()))


def test_inputs_that_do_not_fit():
    with pytest.raises(UnsupportedModel, match=r"input \(2, 7\) \(RuntimeError: .*Give inputs that it accepts"):
        covered(nn.Sequential(nn.Linear(6, 4)), torch.randn(2, 7))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(value):
    model = seeded(networks.Residual)
    with torch.no_grad():
        model.bn1.bias[2] = value
    with pytest.raises(UnsupportedModel, match=r"bn1\.bias holds NaN or infinite"):
        covered(model)
