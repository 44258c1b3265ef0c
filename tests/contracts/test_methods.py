"""What every pruning method must do, run over every file found in `compressor/methods`."""

import copy
import dataclasses
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compressor.core.groups import ChannelGroup, GroupMember, Role, TensorAxis
from compressor.core.plugins import PluginFolder
from compressor.core.protocols import MethodContext
from compressor.core.serial import from_json, to_json

METHODS = PluginFolder("compressor.methods", "pruning method")
PLUGINS = {name: METHODS.load(name) for name in METHODS.names()}
CRITERIA = sorted(name for name, plugin in PLUGINS.items() if hasattr(plugin, "scores"))
SELECTORS = sorted(name for name, plugin in PLUGINS.items() if hasattr(plugin, "select"))

# What does not hold for a method, and why.
DEPENDS_ON_ORDER = {"random": "a number is drawn for each index"}
LOOKS_AT_MAPS = {"hrank", "chip"}  # channels of linear layers are no images
ZERO_MAY_STAY = {"random": "does not look at weights", "fpgm": "a filter of zeros can be far from all others"}

SECTIONS = ["Paper", "Equations", "Notation", "Options", "Returns", "Deviations", "Raises", "Complexity", "Example"]
STREAM, INNER, HIDDEN = 6, 8, 7


class Net(nn.Module):
    """A residual stream, a depthwise convolution, flattened pixels, and a linear layer that no norm follows."""

    def __init__(self):
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, STREAM, 3, padding=1, bias=False), nn.BatchNorm2d(STREAM)
        self.conv1, self.bn1 = nn.Conv2d(STREAM, INNER, 3, padding=1), nn.BatchNorm2d(INNER)
        self.depthwise, self.bn2 = nn.Conv2d(INNER, INNER, 3, padding=1, groups=INNER), nn.BatchNorm2d(INNER)
        self.conv2, self.bn3 = nn.Conv2d(INNER, STREAM, 1), nn.BatchNorm2d(STREAM)
        self.drop, self.fc1, self.fc2 = nn.Dropout(0.3), nn.Linear(STREAM * 4, HIDDEN), nn.Linear(HIDDEN, 5)
        for norm in (self.bn, self.bn1, self.bn2, self.bn3):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.1)
            norm.running_mean.normal_(std=0.1)
            norm.running_var.uniform_(0.5, 1.5)

    def forward(self, x):
        x = torch.relu(self.bn(self.stem(x)))
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.depthwise(y)))
        x = torch.relu(x + self.bn3(self.conv2(y)))
        x = nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)
        return self.fc2(torch.relu(self.fc1(self.drop(x))))


def member(model, layer, role, n_channels, axis=0):
    module = model.get_submodule(layer)
    names = ["weight"] if role is Role.CONSUMER else ["weight", "bias", "running_mean", "running_var"]
    size = module.weight.shape[axis]
    position, channel = tuple(range(size)), tuple(i * n_channels // size for i in range(size))
    axes = [
        TensorAxis(f"{layer}.{name}", axis if name == "weight" else 0, position, channel)
        for name in names
        if getattr(module, name, None) is not None
    ]
    return GroupMember(layer, type(module).__name__, role, position, channel, tuple(axes))


def groups_of(model):
    def group(n_channels, **layers):
        roles = {"makes": (Role.PRODUCER, 0), "passes": (Role.CHANNELWISE, 0), "reads": (Role.CONSUMER, 1)}
        members = [member(model, n, roles[k][0], n_channels, roles[k][1]) for k in layers for n in layers[k].split()]
        return ChannelGroup(members[0].layer, n_channels, tuple(members))

    return [
        group(STREAM, makes="stem conv2", passes="bn bn3", reads="conv1 fc1"),
        group(INNER, makes="conv1", passes="bn1 depthwise bn2", reads="conv2"),
        group(HIDDEN, makes="fc1", reads="fc2"),
    ]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Net()


@pytest.fixture(scope="module")
def batches():
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 8, 3, 8, 8, generator=generator)
    labels = torch.randint(5, (2, 8), generator=generator)
    return list(zip(images, labels, strict=True))


def context(plugin, model, batches, seed=0):
    return MethodContext(model, seed, batches if plugin.needs & {"data", "labels"} else None)


def scored(name, model, batches, seed=0):
    return PLUGINS[name]().scores(groups_of(model), context(PLUGINS[name], model, batches, seed))


def answer(name, model, batches, seed=0):
    """Everything that the method says about the model, as comparable values."""
    plugin, groups = PLUGINS[name](), groups_of(model)
    given = context(plugin, model, batches, seed)
    if name in CRITERIA:
        return {group: scores.tolist() for group, scores in plugin.scores(groups, given).items()}
    chosen = {g.name: list(plugin.select(g, g.n_channels // 2, given)) for g in groups}
    return {"ratios": dict(plugin.ratios(groups, given, 0.4)), "select": chosen}


def permuted(model, orders):
    """The same function, with the channels of each group in another order."""
    twin = copy.deepcopy(model)
    state = twin.state_dict()
    for group in groups_of(model):
        order = orders[group.name]
        for axis in dict.fromkeys(axis for each in group.members for axis in each.axes):
            places = [
                [p for p, c in zip(axis.position, axis.channel, strict=True) if c == k] for k in range(len(order))
            ]
            index = torch.tensor([p for old in order for p in places[old]])
            state[axis.tensor].copy_(state[axis.tensor].index_select(axis.axis, index))
    return twin


def test_there_are_both_kinds():
    assert CRITERIA and SELECTORS and set(CRITERIA) | set(SELECTORS) == set(PLUGINS)


@pytest.mark.parametrize("name", sorted(PLUGINS))
class TestEveryMethod:
    def test_is_a_frozen_dataclass_whose_options_round_trip(self, name):
        plugin = PLUGINS[name]
        assert dataclasses.is_dataclass(plugin) and plugin.__dataclass_params__.frozen
        options = dataclasses.asdict(plugin())
        assert all(isinstance(value, (float, int, str, bool, type(None))) for value in options.values())
        assert plugin(**options) == plugin()
        assert from_json(plugin, to_json(plugin()), name) == plugin()

    def test_says_what_it_is(self, name):
        plugin = PLUGINS[name]
        assert plugin.summary and "\n" not in plugin.summary
        assert re.search(r"arXiv:\d{4}\.\d{4,5}|doi:10\.\d+/", plugin.paper)
        assert 0 < len(plugin.use_when) <= 100 and "\n" not in plugin.use_when
        assert re.search(r"\b(19|20)\d\d\b", plugin.paper)  # `compress methods` shows the year
        assert plugin.needs <= {"data", "labels", "norm"}
        assert isinstance(getattr(plugin, "comparable", False), bool)

    def test_docstring_has_every_section_in_order(self, name):
        text = PLUGINS[name].__doc__
        found = re.findall(rf"^    ({'|'.join(SECTIONS)}):", text, flags=re.MULTILINE)
        assert found == SECTIONS
        assert re.search(r"arXiv:\d{4}\.\d{4,5}|doi:10\.\d+/", text)
        assert ">>>" in text.partition("Example:")[2]
        options = text.partition("Options:")[2].partition("Returns:")[0]
        fields = dataclasses.fields(PLUGINS[name])
        assert all(f"{field.name} (" in options for field in fields) and (fields or "none" in options)

    def test_has_a_test_file(self, name):
        assert (Path(__file__).parents[1] / "methods" / f"test_{name}.py").is_file()

    @pytest.mark.parametrize("training", [True, False])
    def test_leaves_everything_as_it_was(self, name, model, batches, training):
        model.train(training)
        model.bn1.train(not training)
        model.conv1.weight.requires_grad_(False)
        model.fc2.bias.grad = torch.ones(5)
        before = copy.deepcopy(model)
        random.seed(3)
        np.random.seed(3)
        torch.manual_seed(3)
        states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
        answer(name, model, batches)
        assert random.getstate() == states[0] and np.random.get_state()[1].tolist() == states[1]
        assert torch.equal(torch.get_rng_state(), states[2])
        assert torch.is_grad_enabled()
        for (key, old), new in zip(before.state_dict().items(), model.state_dict().values(), strict=True):
            assert torch.equal(old, new), key
        for (key, old), new in zip(before.named_parameters(), model.parameters(), strict=True):
            assert old.requires_grad == new.requires_grad, key
            assert (new.grad is None) == (key != "fc2.bias"), key
        assert torch.equal(model.fc2.bias.grad, torch.ones(5))
        for (key, old), new in zip(before.named_modules(), model.modules(), strict=True):
            assert old.training == new.training, key
            assert not (new._forward_hooks or new._forward_pre_hooks or new._backward_hooks), key
            assert vars(old).keys() == vars(new).keys(), key

    def test_same_seed_same_answer(self, name, model, batches):
        torch.manual_seed(1)
        first = answer(name, model, batches, seed=11)
        torch.manual_seed(2)
        assert answer(name, model, batches, seed=11) == first

    def test_does_not_depend_on_the_order_of_the_groups(self, name, model, batches):
        plugin, groups = PLUGINS[name](), groups_of(model)
        given = context(plugin, model, batches)
        if name in CRITERIA:
            forward, backward = plugin.scores(groups, given), plugin.scores(groups[::-1], given)
            assert forward.keys() == backward.keys()
            assert all(torch.equal(forward[key], backward[key]) for key in forward)
        else:
            assert plugin.ratios(groups, given, 0.3) == plugin.ratios(groups[::-1], given, 0.3)


@pytest.mark.parametrize("name", CRITERIA)
class TestEveryCriterion:
    def check(self, name, model, found):
        fewer = "norm" in PLUGINS[name].needs or name in LOOKS_AT_MAPS
        expected = {"stem", "conv1"} if fewer else {"stem", "conv1", "fc1"}
        assert set(found) == expected
        for group in groups_of(model):
            if group.name in found:
                scores = found[group.name]
                assert scores.dtype == torch.float32 and scores.shape == (group.n_channels,)
                assert scores.isfinite().all() and not scores.requires_grad and scores.device.type == "cpu"

    def test_a_finite_score_per_channel(self, name, model, batches):
        self.check(name, model, scored(name, model, batches))

    def test_half_precision_models(self, name, model, batches):
        half = [(images.bfloat16(), labels) for images, labels in batches]
        self.check(name, model, scored(name, model.bfloat16(), half))


@pytest.mark.parametrize("name", [name for name in CRITERIA if name not in DEPENDS_ON_ORDER])
def test_permuted_channels_have_permuted_scores(name, model, batches):
    orders = {group.name: torch.randperm(group.n_channels).tolist() for group in groups_of(model)}
    twin = permuted(model, orders)
    assert torch.allclose(twin.eval()(batches[0][0]), model.eval()(batches[0][0]), atol=1e-5)
    before, after = scored(name, model, batches), scored(name, twin, batches)
    for group, scores in before.items():
        assert torch.allclose(after[group], scores[orders[group]], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("name", [name for name in CRITERIA if name not in ZERO_MAY_STAY])
def test_a_channel_of_zeros_scores_lowest(name, model, batches):
    state = model.state_dict()
    for group in groups_of(model):
        for axis in (a for each in group.members if each.role is not Role.CONSUMER for a in each.axes):
            if not axis.tensor.endswith("running_var"):
                index = torch.tensor([p for p, c in zip(axis.position, axis.channel, strict=True) if c == 2])
                state[axis.tensor].index_fill_(axis.axis, index, 0.0)
    for scores in scored(name, model, batches).values():
        assert scores[2] == scores.min() and scores[2] < scores.max()


@pytest.mark.parametrize("name", SELECTORS)
class TestEverySelector:
    def test_any_number_of_distinct_channels(self, name, model, batches):
        plugin = PLUGINS[name]()
        given = context(plugin, model, batches)
        for group in groups_of(model):
            for n_keep in range(1, group.n_channels + 1):
                kept = plugin.select(group, n_keep, given)
                assert len(kept) == len(set(kept)) == n_keep and set(kept) <= set(range(group.n_channels))
                assert all(type(channel) is int for channel in kept)

    def test_ratios_are_shares_that_leave_a_channel(self, name, model, batches):
        plugin, groups = PLUGINS[name](), groups_of(model)
        given = context(plugin, model, batches)
        for wanted in (0.0, 0.3, 0.5, 0.99):
            found = plugin.ratios(groups, given, wanted)
            assert set(found) == {group.name for group in groups}
            for group in groups:
                assert 0 <= found[group.name] <= 1 - 1 / group.n_channels
        assert set(plugin.ratios(groups, given, 0.0).values()) == {0}
