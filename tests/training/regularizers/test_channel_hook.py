"""What every regulariser of channels must do."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch

from compressor.core.errors import UnsupportedModel
from compressor.core.plugins import PluginFolder
from compressor.core.serial import from_json, to_json
from compressor.training.channel_hook import ChannelHook
from compressor.training.hooks import Hook

FOLDER = PluginFolder("compressor.training.regularizers", "regulariser")
SECTIONS = ["Paper", "Equations", "Notation", "Options", "Returns", "Deviations", "Raises", "Complexity", "Example"]
STRONG = {  # strong enough to act within a few steps on small networks
    "network_slimming": {"strength": 0.05},
    "proximal_slimming": {"strength": 4.0, "beta": 10.0},
    "mask_sparsity": {"strength": 0.05, "ratio": 0.6},
    "group_lasso": {"strength": 0.05},
    "orthoreg": {"strength": 0.05},
    "sparse_group_lasso": {"strength": 0.02, "beta": 20.0, "every": 1},
}
PLUGINS = {name: FOLDER.load(name) for name in STRONG}
VARIANTS = [
    *STRONG.items(),
    ("network_slimming", {"penalty": "lp", "strength": 0.01, "initial_scale": 0.5}),
    ("proximal_slimming", {"strength": 4.0, "beta": 10.0, "together": False, "initial_scale": 0.5}),
    ("sparse_group_lasso", {"penalty": "l1_minus_l2", "strength": 0.02, "beta": 20.0, "every": 1}),
]
SAYS_NOTHING_OF_CHANNELS = "orthoreg"
CASES = [pytest.param(PLUGINS[name](**options), id=f"{name}-{i}") for i, (name, options) in enumerate(VARIANTS)]


def saved(model, optimizer, hook):
    """What a checkpoint holds, as copies."""
    momenta = {
        name: optimizer.state[parameter]["momentum_buffer"].clone() for name, parameter in model.named_parameters()
    }
    return (
        {name: tensor.clone() for name, tensor in model.state_dict().items()},
        momenta,
        {name: tensor.clone() for name, tensor in hook.state().items()},
    )


def restored(model, optimizer, hook, checkpoint):
    weights, momenta, state = checkpoint
    model.load_state_dict(weights)
    for name, parameter in model.named_parameters():
        optimizer.state[parameter]["momentum_buffer"] = momenta[name].clone()
    hook.restore(state)


@pytest.mark.parametrize("plugin", CASES)
@pytest.mark.parametrize("name", ["normed", "depthwise"])
def test_a_killed_run_goes_on_to_the_same_weights(nets, plugin, name):
    """Bit for bit, from a hook that was attached to a model with other weights, as after a fresh start."""
    model, groups = nets.build(name)
    hook, optimizer = plugin.attach(model, groups, seed=3, n_images=10), nets.optimizer_of(model)
    nets.train(model, hook, optimizer, range(5))
    checkpoint = saved(model, optimizer, hook)
    nets.train(model, hook, optimizer, range(5, 10))
    hook.finish()

    twin, _ = nets.build(name, seed=1)
    other, optimizer = plugin.attach(twin, groups, seed=3, n_images=10), nets.optimizer_of(twin)
    restored(twin, optimizer, other, checkpoint)
    nets.train(twin, other, optimizer, range(5, 10))
    other.finish()
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, twin.state_dict()[key]), key
    assert hook.state().keys() == other.state().keys()
    assert all(torch.equal(tensor, other.state()[key]) for key, tensor in hook.state().items())
    assert repr(hook) == repr(other)
    if isinstance(hook, ChannelHook):
        found = other.channels()
        assert all(torch.equal(importance, found[key]) for key, importance in hook.channels().items())


@pytest.mark.parametrize("plugin", [case for case in CASES if SAYS_NOTHING_OF_CHANNELS not in case.id])
@pytest.mark.parametrize("name", ["normed", "residual", "concat", "depthwise"])
def test_channels_of_coupled_groups(nets, plugin, name):
    model, groups = nets.build(name)
    hook = plugin.attach(model, groups, seed=0, n_images=10)
    assert isinstance(hook, Hook)
    nets.train(model, hook, nets.optimizer_of(model), range(4))
    for ended in (False, True):
        found = hook.channels()
        sizes = {group.name: group.n_channels for group in groups}
        assert found.keys() == sizes.keys() - hook.left_alone.keys()
        assert 0 <= hook.sparsity() <= 1
        for group, importance in found.items():
            assert importance.shape == (sizes[group],) and importance.dtype == torch.float32
            assert importance.device.type == "cpu" and not importance.requires_grad
            assert importance.isfinite().all() and (importance >= 0).all() and (importance > 0).any()
        assert hook.left_alone.keys() <= sizes.keys() and all(hook.left_alone.values())
        assert set(hook.emptied) <= found.keys()
        if not ended:
            hook.finish()
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("name", sorted(PLUGINS))
class TestEveryRegulariser:
    def test_changes_training(self, nets, name):
        """It can fail: without the hook the weights are others."""
        states = []
        for hooked in (True, False):
            model, groups = nets.build("normed")
            hook = PLUGINS[name](**STRONG[name]).attach(model, groups, seed=0, n_images=10) if hooked else Hook()
            nets.train(model, hook, nets.optimizer_of(model), range(3))
            states.append(model.state_dict())
        assert any(not torch.equal(states[0][key], states[1][key]) for key in states[0])

    def test_leaves_random_numbers_and_modes_alone(self, nets, name):
        model, groups = nets.build("normed")
        before = torch.get_rng_state()
        hook = PLUGINS[name](**STRONG[name]).attach(model, groups, seed=0, n_images=10)
        hook.sparsity(), hook.state()
        assert torch.equal(torch.get_rng_state(), before) and not any(m.training for m in model.modules())

    def test_without_groups_or_norms(self, nets, name):
        model, groups = nets.build("flattened")
        with pytest.raises(UnsupportedModel, match=f"^{name}: .*but "):
            PLUGINS[name]().attach(model, [], seed=0, n_images=10)
        if "norm" in PLUGINS[name].needs:
            with pytest.raises(UnsupportedModel, match=f"^{name}: .*Use group_lasso"):
                PLUGINS[name]().attach(model, groups, seed=0, n_images=10)
        else:
            PLUGINS[name]().attach(model, groups, seed=0, n_images=10)

    def test_is_a_frozen_dataclass_whose_options_round_trip(self, name):
        plugin = PLUGINS[name]
        assert dataclasses.is_dataclass(plugin) and plugin.__dataclass_params__.frozen
        assert from_json(plugin, to_json(plugin(**STRONG[name])), name) == plugin(**STRONG[name])

    def test_a_run_goes_on_with_the_same_options_only(self, nets, name):
        model, groups = nets.build("normed")
        hooks = [
            plugin.attach(model, groups, seed=0, n_images=10)
            for plugin in (PLUGINS[name](), PLUGINS[name](), PLUGINS[name](**STRONG[name]))
        ]
        assert repr(hooks[0]) == repr(hooks[1]) != repr(hooks[2]) and "0x" not in repr(hooks[0])

    def test_says_what_it_is(self, name):
        plugin = PLUGINS[name]
        assert plugin.summary and "\n" not in plugin.summary
        assert re.search(r"arXiv:\d{4}\.\d{4,5}|doi:10\.\d+/", plugin.paper)
        assert re.search(r"\b(19|20)\d\d\b", plugin.paper)
        assert 0 < len(plugin.use_when) <= 100 and "\n" not in plugin.use_when
        assert plugin.needs <= {"norm"}

    def test_docstring_has_every_section_in_order(self, name):
        text = PLUGINS[name].__doc__
        assert re.findall(rf"^    ({'|'.join(SECTIONS)}):", text, flags=re.MULTILINE) == SECTIONS
        assert ">>>" in text.partition("Example:")[2]
        options = text.partition("Options:")[2].partition("Returns:")[0]
        assert all(f"{field.name} (" in options for field in dataclasses.fields(PLUGINS[name]))

    def test_has_a_test_file(self, name):
        assert (Path(__file__).parent / f"test_{name}.py").is_file()


def test_a_kept_set_round_trips():
    plugin = PLUGINS["mask_sparsity"](kept={"stem": (0, 2)})
    assert from_json(type(plugin), to_json(plugin), "mask_sparsity") == plugin


@pytest.mark.parametrize("plugin", [case for case in CASES if SAYS_NOTHING_OF_CHANNELS not in case.id])
def test_a_channel_is_left_even_where_all_weights_are_zero(nets, plugin):
    model, groups = nets.build("normed")
    hook = plugin.attach(model, groups, seed=0, n_images=10)
    for parameter in model.parameters():
        parameter.data.zero_()
    if "xi" in hook.state():
        hook.restore({"xi": torch.zeros_like(hook.state()["xi"])})
    assert all(bool((importance > 0).any()) for importance in hook.channels().values())
    hook.finish()
    assert all(bool((importance > 0).any()) for importance in hook.channels().values())
