import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compressor.core.errors import InvalidOption, UnknownPlugin, UnsupportedModel
from compressor.core.groups import ChannelGroup, GroupMember, Role, TensorAxis
from compressor.core.plugins import PluginFolder
from compressor.core.serial import from_json, to_json
from compressor.runs.coverage import cover
from compressor.training.averaging import WeightAveraging
from compressor.training.hooks import Moment
from compressor.training.regularizers.progressive import Progressive, strongest
from exporters.signature import ExampleInputs
from tests import networks
from tests.training.regularizers import masked

METHODS = PluginFolder("compressor.methods", "pruning method")
BY_DATA = [name for name in METHODS.names() if METHODS.load(name).needs & {"data", "labels"}]
BY_WEIGHTS = [name for name in METHODS.names() if name not in BY_DATA]
OFTEN = Progressive(begin=0.0, end=0.7, every=0.5)


def chain(rows):
    """Linear -> ReLU -> linear with one channel a row, and the group of these."""
    rows = torch.tensor(rows)
    model = nn.Sequential(nn.Linear(rows.shape[1], len(rows), bias=False), nn.ReLU(), nn.Linear(len(rows), 3))
    model[0].weight.data = rows.clone()
    every = tuple(range(len(rows)))
    members = (
        GroupMember("0", "Linear", Role.PRODUCER, every, every, (TensorAxis("0.weight", 0, every, every),)),
        GroupMember("2", "Linear", Role.CONSUMER, every, every, (TensorAxis("2.weight", 1, every, every),)),
    )
    return model, ChannelGroup("0", len(rows), members)


def silent(hook):
    return {name: (~live).nonzero().flatten().tolist() for name, live in hook.masks.live.items()}


class TestRamp:
    def test_by_hand(self):
        ramp = Progressive(ratio=0.9, initial_ratio=0.1)
        assert ramp.ratio_at(0.0) == pytest.approx(0.1)
        assert ramp.ratio_at(0.5) == pytest.approx(0.9 - 0.8 / 8)
        assert ramp.ratio_at(1.0) == 0.9

    @given(st.floats(0.01, 0.99), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
    def test_it_never_falls_and_stays_between_its_ends(self, ratio, part, one, other):
        ramp = Progressive(ratio=ratio, initial_ratio=ratio * part)
        low, high = sorted((one, other))
        assert ratio * part - 1e-12 <= ramp.ratio_at(low) <= ramp.ratio_at(high) <= ratio

    def test_it_is_steepest_at_first(self):
        steps = [OFTEN.ratio_at((k + 1) / 10) - OFTEN.ratio_at(k / 10) for k in range(10)]
        assert steps == sorted(steps, reverse=True)


class TestDue:
    def test_by_hand(self):
        """40 steps, 10 an epoch: from step 4 to 24, every 5."""
        plugin = Progressive(begin=0.1, end=0.6, every=0.5)
        found = {step + 1: plugin.due(Moment(step, 40, 10, 0.1)) for step in range(40)}
        assert {done: position for done, position in found.items() if position is not None} == {
            4: 0.0, 9: 0.25, 14: 0.5, 19: 0.75, 24: 1.0,
        }  # fmt: skip

    @given(st.integers(1, 200), st.integers(1, 50), st.floats(0, 0.99), st.floats(0.001, 1), st.floats(0.001, 1000))
    def test_selections_go_from_low_to_1_and_none_follows(self, n_steps, n_per_epoch, begin, length, every):
        end = begin + (1 - begin) * length
        if not begin < end <= 1:
            return
        plugin = Progressive(begin=begin, end=end, every=every)
        found = [plugin.due(Moment(step, n_steps, n_per_epoch, 0.1)) for step in range(n_steps)]
        positions = [position for position in found if position is not None]
        assert positions and positions[-1] == 1
        assert positions == sorted(set(positions)) and positions[0] >= 0
        last = max(step for step, position in enumerate(found, 1) if position is not None)
        assert last <= max(1, round(end * n_steps))


class TestStrongest:
    def test_by_hand(self):
        one, other = torch.tensor([5.0, 1.0, 3.0]), torch.tensor([0.5, 2.0])
        assert [mask.tolist() for mask in strongest([one, other], 0.4)] == [[True, False, True], [False, True]]
        # The best of a group stays even where all others are better.
        assert [mask.tolist() for mask in strongest([one, other / 10], 0.6)] == [[True, False, False], [False, True]]
        assert strongest([one], 0.99)[0].tolist() == [True, False, False]
        assert strongest([one], 0.0)[0].all()

    @given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.floats(0, 1), st.booleans(), st.integers(0, 999))
    def test_as_many_as_asked_for_and_the_weakest(self, sizes, ratio, ties, seed):
        generator = torch.Generator().manual_seed(seed)
        scores = [torch.rand(n, generator=generator) for n in sizes]
        if ties:
            scores = [(4 * score).round() for score in scores]
        masks = strongest(scores, ratio)
        n = sum(sizes)
        assert sum(int((~mask).sum()) for mask in masks) == min(round(ratio * n), n - len(sizes))
        assert all(mask[score.argmax()] for score, mask in zip(scores, masks, strict=True))
        gone = torch.cat([score[~mask] for score, mask in zip(scores, masks, strict=True)])
        for score, mask in zip(scores, masks, strict=True):
            stays = mask.clone()
            stays[score.argmax()] = False
            assert not len(gone) or not stays.any() or score[stays].min() >= gone.max()


class TestSelections:
    def test_by_hand_what_falls_silent_and_what_returns(self):
        model, group = chain([[1.0], [2.0], [3.0], [4.0]])
        hook = Progressive(ratio=0.5, begin=0.0, end=1.0, every=1.0).attach(model, [group], seed=0, n_images=1)

        def after(step):
            hook.after_step(Moment(step, 9, 2, 0.1))
            return silent(hook)["0"]

        assert after(0) == []  # s = 0, 0.5 (1 - (3/4)^3), 0.5 (1 - 1/8), ...: 0, 1, 2, 2, 2 channels
        assert after(1) == []
        assert after(2) == [0]
        assert model[0].weight.flatten().tolist() == [0, 2, 3, 4] and (model[2].weight[:, 0] == 0).all()
        model[0].weight.data.copy_(torch.tensor([[9.0], [0.5], [3.0], [4.0]]))  # 9: an optimizer's doing
        assert after(3) == [0]
        assert model[0].weight.flatten().tolist() == [0, 0.5, 3, 4]
        assert after(4) == [0, 1]  # 1 (remembered), 0.5, 3, 4
        model[0].weight.data[2:] = torch.tensor([[0.75], [0.6]])
        after(5)
        assert after(6) == [1, 3]  # 1 and 0.5 (remembered), 0.75, 0.6: the first channel returns
        assert model[0].weight.flatten().tolist() == [1, 0, 0.75, 0]
        assert (model[2].weight[:, 0] != 0).all()
        after(7)
        assert after(8) == [1, 3]

    @pytest.mark.parametrize(
        ("allocation", "expected"), [("local", {"0": [1], "1": [1]}), ("global", {"0": [], "1": [1, 2]})]
    )
    def test_groups_compete_where_that_is_asked_for(self, allocation, expected):
        """Over the mean of their layer, lengths are 0.8, 0.6, 1.3 and 1.3, and 1.4, 0.03, 0.06 and 2.5."""
        model = nn.Sequential(nn.Linear(1, 4, bias=False), nn.Linear(4, 4, bias=False))
        model[0].weight.data = torch.tensor([[4.0], [3.0], [6.5], [6.5]])
        model[1].weight.data = torch.diag(torch.tensor([500.0, 10.0, 20.0, 900.0]))
        every = (0, 1, 2, 3)
        groups = [
            ChannelGroup(n, 4, (GroupMember(n, "", Role.PRODUCER, every, every, (TensorAxis(t, 0, every, every),)),))
            for n, t in (("0", "0.weight"), ("1", "1.weight"))
        ]
        plugin = Progressive(ratio=0.25, begin=0.0, end=0.5, allocation=allocation)
        hook = plugin.attach(model, groups, seed=0, n_images=1)
        hook.after_step(Moment(0, 1, 1, 0.1))
        assert silent(hook) == expected

    @pytest.mark.parametrize("allocation", ["local", "global"])
    @pytest.mark.parametrize("name", BY_WEIGHTS)
    def test_any_method_that_needs_no_data(self, nets, name, allocation):
        plugin = Progressive(method=name, ratio=0.6, begin=0.0, end=0.7, every=0.5, allocation=allocation)
        run = masked.start(plugin, *nets.build("normed"))
        masked.train(run, range(4), n_steps=4)
        sizes = {name: len(live) for name, live in run.hook.masks.live.items()}
        gone = {name: len(channels) for name, channels in silent(run.hook).items()}
        if allocation == "local":
            assert gone == {name: round(0.6 * n) for name, n in sizes.items()}
        else:
            assert sum(gone.values()) == pytest.approx(0.6 * sum(sizes.values()), abs=1.5)
        assert all(gone[name] < n for name, n in sizes.items())
        masked.assert_masked_is_cut(run.model, run.hook.groups, run.hook.masks.live, networks.images(4))

    def test_a_method_may_have_options(self):
        # Of directions 0, 0, 90 and 91 degrees and lengths 1, 3, 1 and 1: by distance, or by angle alone.
        rows = [[1.0, 0.0], [9.0, 0.0], [0.0, 1.0], [-0.0174, 1.0]]
        kept = {}
        for options in ((), ("distance=cosine",)):
            model, group = chain(rows)
            plugin = Progressive(method="fpgm", method_options=options, ratio=0.25, begin=0.0, end=0.5)
            hook = plugin.attach(model, [group], seed=0, n_images=1)
            hook.after_step(Moment(0, 1, 1, 0.1))
            kept[options] = silent(hook)["0"]
        assert len(set(map(tuple, kept.values()))) == 2

    def test_groups_that_the_method_cannot_judge_are_left_alone(self, nets):
        model, groups = nets.build("residual")
        run = masked.start(Progressive(method="bn_scale", begin=0.0, end=0.5), model, groups)
        assert run.hook.left_alone == {"conv3": "the method bn_scale cannot judge it."}
        before = model.conv3.weight.clone()
        masked.train(run, range(8))
        assert run.hook.channels().keys() == {"stem", "conv1"}
        assert (model.conv3.weight != before).any() and (model.conv3.weight.flatten(1).abs().sum(1) > 0).all()


class TestRuns:
    @pytest.mark.parametrize("allocation", ["local", "global"])
    def test_the_silent_share_never_falls_and_then_is_frozen(self, nets, allocation):
        plugin = Progressive(ratio=0.7, begin=0.0, end=0.7, every=0.34, allocation=allocation)
        run = masked.start(plugin, *nets.build("normed"))
        shares, masks = [], []
        for step in range(20):
            masked.train(run, range(step, step + 1), n_steps=20)
            shares.append(run.hook.sparsity())
            masks.append(silent(run.hook))
        assert shares == sorted(shares) and len(set(shares)) > 3
        assert shares[-1] == (round(0.7 * 6) + 2 * round(0.7 * 5) if allocation == "local" else round(0.7 * 16)) / 16
        assert masks[13:] == [masks[13]] * 7 and masks[12] != masks[0]

    def test_what_is_frozen_goes_on_learning(self, nets):
        run = masked.start(OFTEN, *nets.build("normed"))
        masked.train(run, range(9))
        before = masked.checkpoint(run)
        masked.train(run, range(9, 12))
        weights, _, state = before
        assert (run.model.conv1.weight != weights["conv1.weight"]).any()
        assert all(torch.equal(tensor, state[name]) for name, tensor in run.hook.state().items())

    @pytest.mark.parametrize("name", ["normed", "residual", "concat", "depthwise", "shared"])
    def test_the_trained_network_computes_what_the_cut_one_does(self, nets, name):
        model, groups = nets.build(name)
        run = masked.start(OFTEN, model, groups)
        masked.train(run, range(12))
        run.hook.finish()
        live = {name: importance > 0 for name, importance in run.hook.channels().items()}
        assert live.keys() == {group.name for group in groups}
        masked.assert_masked_is_cut(model, groups, live, networks.images(4))

    def test_channels_are_0_where_silent_and_above_0_elsewhere(self, nets):
        run = masked.start(OFTEN, *nets.build("normed"))
        for step in range(12):
            masked.train(run, range(step, step + 1))
            for name, importance in run.hook.channels().items():
                assert torch.equal(importance > 0, run.hook.masks.live[name])
                assert importance.dtype == torch.float32 and (importance > 0).any()

    def test_what_channels_are_worth_compares_between_groups(self):
        """Scores of l1 are in units of each layer's weights; those of live channels have a mean of 1."""
        model, group = chain([[1.0], [2.0], [30.0], [10.0]])
        hook = Progressive(ratio=0.5, begin=0.0, end=0.5).attach(model, [group], seed=0, n_images=1)
        hook.after_step(Moment(0, 1, 1, 0.1))
        assert hook.channels()["0"].tolist() == [0, 0, 1.5, 0.5]

    def test_one_channel_stays_where_all_weights_are_zero(self, nets):
        model, groups = nets.build("normed")
        hook = Progressive(ratio=0.99, begin=0.0, end=0.5).attach(model, groups, seed=0, n_images=1)
        for parameter in model.parameters():
            parameter.data.zero_()
        hook.after_step(Moment(0, 1, 1, 0.1))
        hook.finish()
        assert {name: int((importance > 0).sum()) for name, importance in hook.channels().items()} == {
            "stem": 1, "conv1": 1, "conv3": 1,
        }  # fmt: skip

    def test_an_average_of_weights_is_masked_in_the_end(self, nets):
        run = masked.start(OFTEN, *nets.build("normed"))
        averaging = WeightAveraging(run.model, 0.9)
        for step in range(12):
            masked.train(run, range(step, step + 1))
            averaging.after_step(masked.moment(step))
        averaging.finish()
        assert all(row.abs().sum() > 0 for row in run.model.conv1.weight)
        run.hook.finish()
        masked.assert_masked_is_cut(run.model, run.hook.groups, run.hook.masks.live, networks.images(4))

    @pytest.mark.parametrize(
        ("name", "options"), [("normed", {"allocation": "global"}), ("concat", {}), ("normed", {"method": "reprune"})]
    )
    def test_a_kill_changes_nothing(self, nets, name, options):
        plugin = Progressive(begin=0.0, end=0.7, every=0.5, **options)
        masked.assert_a_kill_changes_nothing(lambda seed: nets.build(name, seed), plugin, n_steps=8)

    def test_random_numbers_and_modes_stay(self, nets):
        model, groups = nets.build("normed")
        model.bn.train()
        random = torch.get_rng_state()
        hook = Progressive(method="representative", begin=0.0, end=0.5).attach(model, groups, seed=0, n_images=1)
        hook.after_step(Moment(0, 1, 1, 0.1))
        hook.channels(), hook.sparsity(), hook.state()
        assert torch.equal(torch.get_rng_state(), random)
        assert [name for name, module in model.named_modules() if module.training] == ["bn"]

    def test_a_layer_norm_s_channels_are_masked_where_that_is_asked_for(self):
        model = networks.seeded(networks.Scaled)
        groups = cover(model, ExampleInputs.of(networks.images(), model)).groups
        with pytest.raises(UnsupportedModel, match=r"^progressive: .*stem: aten.native_layer_norm reads.*mixed=True"):
            OFTEN.attach(model, groups, seed=0, n_images=1)
        run = masked.start(Progressive(begin=0.0, end=0.5, mixed=True), model, groups)
        masked.train(run, range(8))
        assert len(silent(run.hook)["stem"]) == 4


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "option"),
        [
            ({"ratio": 0.0}, "ratio"),
            ({"ratio": 1.0}, "ratio"),
            ({"ratio": math.nan}, "ratio"),
            ({"initial_ratio": 0.6}, "initial_ratio"),
            ({"initial_ratio": -0.1}, "initial_ratio"),
            ({"begin": 0.6}, "begin"),
            ({"begin": -0.1}, "begin"),
            ({"end": 1.1}, "end"),
            ({"end": 0.0, "begin": 0.0}, "end"),
            ({"every": 0.0}, "every"),
            ({"every": math.inf}, "every"),
            ({"allocation": "both"}, "allocation"),
            ({"method_options": ("distance=cosine",)}, "method_options"),
        ],
    )
    def test_options(self, options, option):
        with pytest.raises(InvalidOption, match=f"^progressive: `{option}` must be .*but got"):
            Progressive(**options)

    @pytest.mark.parametrize("name", BY_DATA)
    def test_methods_that_need_data(self, name):
        sentence = f"`method` must be one that goes by the weights alone, but got '{name}'. Choose l1"
        with pytest.raises(InvalidOption, match=sentence):
            Progressive(method=name)

    def test_unknown_method(self):
        with pytest.raises(UnknownPlugin, match="Did you mean 'l1'"):
            Progressive(method="l11")

    def test_nothing_to_mask_or_to_judge(self, nets):
        model, groups = nets.build("flattened")
        with pytest.raises(UnsupportedModel, match=r"^progressive: at least one group .* but none has\.$"):
            Progressive().attach(model, [], seed=0, n_images=1)
        with pytest.raises(
            UnsupportedModel, match="bn_scale must be able to judge a group, but can judge none of conv"
        ):
            Progressive(method="bn_scale").attach(model, groups, seed=0, n_images=1)

    def test_weights_that_are_no_numbers(self, nets):
        model, groups = nets.build("normed")
        model.conv1.weight.data[0, 0, 0, 0] = torch.nan
        with pytest.raises(UnsupportedModel, match=r"conv1\.weight: weights must be finite"):
            Progressive().attach(model, groups, seed=0, n_images=1)


def test_options_round_trip():
    plugin = Progressive(method="fpgm", method_options=("distance=cosine",), ratio=0.3)
    assert from_json(Progressive, to_json(plugin), "progressive") == plugin


def test_a_run_goes_on_only_with_equal_options(nets):
    model, groups = nets.build("normed")
    same, equal, other = (
        repr(plugin.attach(model, groups, seed=0, n_images=1)) for plugin in (OFTEN, OFTEN, Progressive())
    )
    assert same == equal != other
