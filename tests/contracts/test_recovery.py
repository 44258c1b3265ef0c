"""Every recovery that is found keeps the contract."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from compressor.core.errors import CompressionError
from compressor.core.plan import GroupPlan, PruningPlan
from compressor.core.plugins import PluginFolder
from compressor.core.progress import SilentProgress
from compressor.core.protocols import RecoveryContext
from compressor.data.batches import from_batches
from compressor.pipeline import inspect
from compressor.surgery.cut import cut_copy
from compressor.surgery.expand import expand
from exporters.signature import ExampleInputs

FOLDER = PluginFolder("compressor.recovery", "recovery")
NEEDS = {"data", "labels", "norm"}
EXAMPLE = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)).eval()


def small():
    """`network` without one of its four channels."""
    model = network()
    return cut_copy(model, *expand(inspect(model, EXAMPLE).groups, {"0": (0, 2, 3)}, model))


def context(model, original=None, **changes):
    original = original or network()
    data = from_batches([(torch.randn(32, 1, 4, 4, generator=torch.Generator().manual_seed(1)), torch.arange(32) % 3)])
    groups = inspect(original, EXAMPLE).groups
    cuts, attributes = expand(groups, {"0": (0, 2, 3)}, original)
    keep = {"0": GroupPlan(4, (0, 2, 3))}
    plan = PruningPlan("l1", {}, "local", {"ratio": 0.25}, 1, 0, keep, cuts, attributes, (1, 1), (1, 1))
    known = {"train": data, "plan": plan, "groups": groups, "inputs": ExampleInputs.of(EXAMPLE, original)}
    return RecoveryContext(model, original, **{**known, **changes})


@pytest.fixture(params=FOLDER.names())
def plugin(request):
    return FOLDER.load(request.param)


def test_it_is_a_frozen_dataclass_that_describes_itself(plugin):
    assert dataclasses.is_dataclass(plugin) and plugin.__dataclass_params__.frozen
    assert plugin.summary and "\n" not in plugin.summary
    assert 0 < len(plugin.use_when) <= 100 and "\n" not in plugin.use_when
    assert isinstance(plugin.paper, str)
    assert plugin.needs <= NEEDS
    assert all(field.default is not dataclasses.MISSING for field in dataclasses.fields(plugin))


def test_it_changes_the_model_in_place_and_nothing_else(plugin):
    model, original = small(), network()
    facts = plugin().apply(context(model, original), SilentProgress())
    assert all(isinstance(value, float | int | str) for value in facts.values()) and facts
    after, before = model.state_dict(), small().state_dict()
    assert after.keys() == before.keys()
    assert any(not torch.equal(after[name], before[name]) for name in after)
    assert all(tensor.shape == before[name].shape and torch.isfinite(tensor).all() for name, tensor in after.items())
    assert all(torch.equal(tensor, network().state_dict()[name]) for name, tensor in original.state_dict().items())
    assert not any(layer.training for layer in [*model.modules(), *original.modules()])
    assert all(parameter.grad is None for parameter in [*model.parameters(), *original.parameters()])
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in model.modules())


def test_it_leaves_the_global_random_numbers_alone(plugin):
    prepared = context(small())
    state = torch.get_rng_state()
    plugin().apply(prepared, SilentProgress())
    assert torch.equal(state, torch.get_rng_state())


def test_the_same_seed_gives_the_same_weights(plugin):
    first, second = small(), small()
    for model in (first, second):
        plugin().apply(context(model, seed=3), SilentProgress())
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_calibration_batches_do_where_no_labels_are_needed(plugin):
    if "labels" in plugin.needs:
        pytest.skip("needs labels, and batches have none")
    batches = [torch.randn(8, 1, 4, 4) for _ in range(3)]
    plugin().apply(context(small(), train=None, batches=batches), SilentProgress())


def test_without_data_it_says_so(plugin):
    if "data" not in plugin.needs:
        pytest.skip("needs no data")
    model = small()
    with pytest.raises(CompressionError, match="--data"):
        plugin().apply(context(model, train=None), SilentProgress())
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), small().state_dict().values(), strict=True)
    )


def test_a_copy_of_the_model_can_be_made_afterwards(plugin):
    model = small()
    plugin().apply(context(model), SilentProgress())
    assert torch.equal(copy.deepcopy(model)(torch.zeros(1, 1, 4, 4)), model(torch.zeros(1, 1, 4, 4)))
