import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.core.errors import InvalidOption, UnsupportedModel
from compressor.core.protocols import MethodContext
from compressor.core.serial import from_json, to_json
from compressor.methods.reprune import RePrune
from compressor.runs.coverage import cover
from compressor.training.hooks import Moment
from compressor.training.regularizers.reprune_schedule import RePruneSchedule, distances, narrowed
from exporters.signature import ExampleInputs
from tests import networks
from tests.training.regularizers import masked

OFTEN = RePruneSchedule(every=1, until=0.75)


def end_of(epoch, n_epochs=4):
    return Moment(step=2 * epoch + 1, n_steps=2 * n_epochs, n_per_epoch=2, lr=0.1)


def live_of(hook):
    return {name: live.nonzero().flatten().tolist() for name, live in hook.masks.live.items()}


class TestWhen:
    def test_by_hand(self):
        """9 of 15 epochs, every second one."""
        found = {epoch + 1: RePruneSchedule().selection(end_of(epoch, 15)) for epoch in range(15)}
        assert {epoch: what for epoch, what in found.items() if what} == {2: (1, 4), 4: (2, 4), 6: (3, 4), 8: (4, 4)}

    def test_the_authors(self):
        cifar = RePruneSchedule(every=2, until=96 / 160)
        found = [epoch + 1 for epoch in range(160) if cifar.selection(end_of(epoch, 160))]
        assert found == list(range(2, 97, 2))

    @given(st.integers(1, 60), st.integers(1, 90), st.floats(0.001, 1))
    def test_at_least_one_in_order_and_none_after_the_last(self, n_epochs, every, until):
        plugin = RePruneSchedule(every=every, until=until)
        found = [plugin.selection(end_of(epoch, n_epochs)) for epoch in range(n_epochs)]
        made = [selection for selection in found if selection]
        assert made == [(number, len(made)) for number in range(1, len(made) + 1)] and made
        assert max(epoch for epoch, selection in enumerate(found, 1) if selection) <= max(1, round(until * n_epochs))


class TestRegrowth:
    def test_the_share_by_hand(self):
        plugin = RePruneSchedule(regrow=0.3)
        assert [plugin.regrown(k, 3) for k in (1, 2, 3)] == pytest.approx([0.225, 0.075, 0.0])
        assert plugin.regrown(1, 1) == 0 and plugin.regrown(7, 7) == 0

    @given(st.integers(1, 8), st.integers(1, 6), st.integers(0, 999))
    def test_distances_are_what_least_squares_leave(self, n, n_features, seed):
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randn(n, n_features, generator=generator, dtype=torch.float64)
        kept = torch.rand(n, generator=generator) < 0.5
        kept[0] = True
        best = torch.linalg.lstsq(rows[kept].T, rows.T, driver="gelsd").solution
        expected = (rows.T - rows[kept].T @ best).norm(dim=0)
        assert torch.allclose(distances(rows, kept), expected, atol=1e-9)
        assert distances(rows, kept)[kept].max() < 1e-9

    def test_distances_from_filters_that_depend_on_each_other_or_are_zero(self):
        rows = torch.tensor([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0], [4.0, 0.0, 3.0]])
        assert distances(rows, torch.tensor([True, True, True, False])).tolist() == [0, 0, 0, 3]
        assert distances(rows, torch.tensor([False, False, True, False])).tolist() == [1, 2, 0, 5]

    @pytest.mark.parametrize("seed", range(6))
    def test_by_hand(self, seed):
        """Four filters, two of which stay at each of three selections; one, one and none grow back."""
        model, group = masked.chain()
        rows, scales = model[0].weight.data, model[1].weight.data
        rows.copy_(torch.tensor([[1000.0, 0, 0], [1000.0, 0, 0], [0, 100, 0], [0, 100, 50]]))
        scales.copy_(torch.tensor([4.0, 3.0, 2.0, 1.0]))
        hook = RePruneSchedule(every=1, until=0.75, regrow=0.3).attach(model, [group], seed=seed, n_images=1)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

        # 0 and 1 are alike, and 2 or 3 stands for the other. Of what is left, one is in the span of what stays, and one
        # is far from it: that one grows back.
        hook.end_epoch(end_of(0))
        (alike, two, three) = live_of(hook)["0"]
        assert alike in (0, 1) and (two, three) == (2, 3)
        silent = 1 - alike
        assert (rows[silent] == 0).all() and (model[3].weight[:, silent] == 0).all()
        assert torch.equal(rows[2:], before["0.weight"][2:])

        # Training moves everything; what is left spans a plane, from which the silent one, as it was, is far.
        rows[[alike, 2, 3]] = torch.tensor([[0.0, 100, 0], [0, 100, 0], [0, 100, 50]])
        for name in ("1.bias", "1.running_mean", "3.weight"):
            model.state_dict()[name].add_(1.0)
        hook.after_step(end_of(1))
        assert model[1].bias[silent] == 0
        hook.end_epoch(end_of(1))
        assert silent in live_of(hook)["0"] and 3 in live_of(hook)["0"] and len(live_of(hook)["0"]) == 3
        after = model.state_dict()
        for name in ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"):
            assert torch.equal(after[name][silent], before[name][silent]), name
        assert torch.equal(after["3.weight"][:, silent], before["3.weight"][:, silent])

        hook.end_epoch(end_of(2))
        frozen = live_of(hook)
        assert len(frozen["0"]) == 2
        rows.add_(1.0)
        hook.after_step(end_of(3))
        hook.end_epoch(end_of(3))
        hook.finish()
        assert live_of(hook) == frozen and hook.sparsity() == 0.5
        assert (rows.abs().sum(1) > 0).nonzero().flatten().tolist() == frozen["0"]

    def test_none_where_none_is_asked_for(self, nets):
        counts = {}
        for share in (0.0, 0.3):
            plugin = RePruneSchedule(every=1, until=1.0, regrow=share)
            run = masked.start(plugin, *nets.build("normed"))
            masked.train(run, range(3))
            counts[share] = {name: len(live) for name, live in live_of(run.hook).items()}
        # Selection 1 of 4: 0.3 (1 + cos(pi / 4)) / 2 = 0.26 of 6 and 5 channels.
        assert all(counts[0.3][name] == min(n + 2, {"stem": 6}.get(name, 5)) for name, n in counts[0.0].items())

    def test_what_grows_back_depends_on_the_seed_alone(self):
        """Two live filters, which both stay, and two silent ones that are alike."""
        found = []
        for seed in (*range(10), 0, 1, 2):
            model, group = masked.chain()
            model[0].weight.data[3] = model[0].weight.data[2]
            hook = RePruneSchedule(every=1, until=1.0, regrow=0.2).attach(model, [group], seed=seed, n_images=1)
            hook.masks.choose({"0": torch.tensor([True, True, False, False])})
            hook.end_epoch(end_of(0))
            found.append(live_of(hook)["0"])
        assert found[:3] == found[10:] and {tuple(live) for live in found} == {(0, 1, 2), (0, 1, 3)}


class TestSelection:
    def test_representatives_and_shares_are_those_of_the_selector(self, nets):
        model, groups = nets.build("normed")
        hook = RePruneSchedule(every=1, until=0.25).attach(model, groups, seed=0, n_images=1)
        shares = RePrune().ratios(groups, MethodContext(model), 0.5)
        assert len(set(shares.values())) > 1
        hook.end_epoch(end_of(0))
        n_live = {name: len(live) for name, live in live_of(hook).items()}
        assert n_live == {g.name: round((1 - shares[g.name]) * g.n_channels) for g in groups}
        assert hook.sparsity() == 0.5

    def test_silent_channels_stand_for_nothing(self):
        """To the selector they are filters of zeros, which have clusters of their own to stand for."""
        for seed in range(10):
            model, group = masked.chain()
            model[0].weight.data = torch.tensor([[0.1, 0, 0], [0.0, 1, 0], [5.0, 0, 0], [0.0, 5, 0]])
            model[1].weight.data = torch.tensor([1.0, 2.0, 3.0, 4.0])
            hook = RePruneSchedule(every=1, until=0.5, regrow=0.0).attach(model, [group], seed=seed, n_images=1)
            hook.masks.choose({"0": torch.tensor([False, True, True, True])})
            hook.end_epoch(end_of(0))
            assert 0 not in live_of(hook)["0"] and len(live_of(hook)["0"]) == 2

    @pytest.mark.parametrize("name", ["normed", "residual", "concat", "flattened"])
    @pytest.mark.parametrize("n_keep", [1, 3])
    def test_a_group_of_all_its_channels_is_the_group(self, nets, name, n_keep):
        model, groups = nets.build(name)
        for group in groups:
            every = narrowed(group, range(group.n_channels))
            found, expected = (RePrune().select(each, n_keep, MethodContext(model)) for each in (every, group))
            assert found == expected

    def test_a_narrowed_group_is_numbered_anew(self, nets):
        _, groups = nets.build("flattened")
        part = narrowed(groups[0], [1, 4])
        conv, fc1 = part.members
        assert part.n_channels == 2
        assert conv.axes[0].position == (1, 4) and conv.axes[0].channel == (0, 1)
        assert fc1.axes[0].position == (*range(16, 32), *range(64, 80))
        assert fc1.axes[0].channel == (0,) * 16 + (1,) * 16

    def test_layers_of_which_nothing_would_stay_are_skipped(self, nets):
        model, groups = nets.build("normed")
        model.bn1.weight.data.fill_(0.01)
        model.bn3.weight.data = torch.tensor([0.01, 0.02, 0.03, 0.04, 9.0])
        hook = RePruneSchedule(every=1, until=0.25, ratio=0.7).attach(model, groups, seed=0, n_images=1)
        hook.end_epoch(end_of(0))
        assert {name: len(live) for name, live in live_of(hook).items()} == {"stem": 3, "conv1": 5, "conv3": 1}

    def test_equal_scales_say_nothing(self, nets):
        """As before training; any share of them could be the smallest."""
        model, groups = nets.build("normed")
        for norm in (model.bn, model.bn1, model.bn2, model.bn3, model.bn4):
            norm.weight.data.fill_(1.0)
        hook = OFTEN.attach(model, groups, seed=0, n_images=1)
        hook.end_epoch(end_of(0))
        assert hook.sparsity() == 0

    def test_groups_without_a_trained_norm_lose_the_ratio(self, nets):
        model, groups = nets.build("residual")
        model.bn1.weight.requires_grad_(False)
        model.bn1.weight.data.fill_(1e-3)
        hook = RePruneSchedule(every=1, until=0.25).attach(model, groups, seed=0, n_images=1)
        hook.end_epoch(end_of(0))
        n_live = {name: len(live) for name, live in live_of(hook).items()}
        assert n_live == {"stem": 4, "conv1": 3, "conv3": 3}


class TestRuns:
    @pytest.mark.parametrize("name", ["normed", "residual", "concat", "depthwise", "shared"])
    def test_the_trained_network_computes_what_the_cut_one_does(self, nets, name):
        model, groups = nets.build(name)
        run = masked.start(OFTEN, model, groups)
        masked.train(run, range(12))
        run.hook.finish()
        live = {name: importance > 0 for name, importance in run.hook.channels().items()}
        assert live.keys() == {group.name for group in groups}
        assert all(torch.equal(mask, run.hook.masks.live[name]) and mask.any() for name, mask in live.items())
        masked.assert_masked_is_cut(model, groups, live, networks.images(4))

    def test_frozen_masks_stay_and_weights_go_on(self, nets):
        run = masked.start(OFTEN, *nets.build("normed"))
        masked.train(run, range(9))
        weights, _, state = masked.checkpoint(run)
        masked.train(run, range(9, 12))
        assert (run.model.stem.weight != weights["stem.weight"]).any()
        assert all(torch.equal(tensor, state[name]) for name, tensor in run.hook.state().items())

    def test_channels_come_and_go_before(self, nets):
        """A kept set that never changes could as well be chosen once."""
        run = masked.start(RePruneSchedule(every=1, until=1.0, regrow=0.5), *nets.build("normed"))
        seen = []
        for epoch in range(4):
            masked.train(run, range(3 * epoch, 3 * epoch + 3))
            seen.append({(name, channel) for name, live in live_of(run.hook).items() for channel in live})
        assert any(later - earlier for earlier, later in pairwise(seen))

    def test_channels_are_worth_their_scales(self, nets):
        model, groups = nets.build("residual")
        hook = RePruneSchedule(every=1, until=0.25).attach(model, groups, seed=0, n_images=1)
        hook.end_epoch(end_of(0))
        found, live = hook.channels(), hook.masks.live
        expected = (model.bn.weight.abs() + model.bn2.weight.abs()).detach() / 2
        torch.testing.assert_close(found["stem"], expected * live["stem"])
        assert found["conv3"][live["conv3"]].mean() == pytest.approx(1.0)
        assert all(importance.dtype == torch.float32 for importance in found.values())

    def test_a_channel_is_worth_something_where_all_weights_are_zero(self, nets):
        model, groups = nets.build("residual")
        hook = OFTEN.attach(model, groups, seed=0, n_images=1)
        for parameter in model.parameters():
            parameter.data.zero_()
        hook.end_epoch(end_of(0))
        assert all((importance > 0).any() for importance in hook.channels().values())

    @pytest.mark.parametrize("name", ["normed", "concat"])
    def test_a_kill_changes_nothing(self, nets, name):
        plugin = RePruneSchedule(every=1, until=0.75, regrow=0.3)
        masked.assert_a_kill_changes_nothing(lambda seed: nets.build(name, seed), plugin)

    def test_random_numbers_and_modes_stay(self, nets):
        model, groups = nets.build("normed")
        model.bn.train()
        random = torch.get_rng_state()
        hook = OFTEN.attach(model, groups, seed=0, n_images=1)
        hook.end_epoch(end_of(0))
        hook.channels(), hook.sparsity(), hook.state()
        assert torch.equal(torch.get_rng_state(), random)
        assert [name for name, module in model.named_modules() if module.training] == ["bn"]


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "option"),
        [
            ({"ratio": 0.0}, "ratio"),
            ({"ratio": 1.0}, "ratio"),
            ({"every": 0}, "every"),
            ({"until": 0.0}, "until"),
            ({"until": 1.5}, "until"),
            ({"regrow": -0.1}, "regrow"),
            ({"regrow": 1.0}, "regrow"),
            ({"regrow": math.nan}, "regrow"),
        ],
    )
    def test_options(self, options, option):
        with pytest.raises(InvalidOption, match=f"^reprune_schedule: `{option}` must be .*but got"):
            RePruneSchedule(**options)

    def test_nothing_to_mask(self, nets):
        model, groups = nets.build("normed")
        with pytest.raises(UnsupportedModel, match=r"^reprune_schedule: at least one group .* but none has\.$"):
            RePruneSchedule().attach(model, [], seed=0, n_images=1)
        unmade = [narrowed(group, []) for group in groups]
        with pytest.raises(UnsupportedModel, match=r"stem: no weight makes some of its channels\."):
            RePruneSchedule().attach(model, unmade, seed=0, n_images=1)

    def test_channels_that_a_norm_reads_together(self):
        model = networks.seeded(networks.Tokens)
        groups = cover(model, ExampleInputs.of(torch.randint(11, (2, 5)), model)).groups
        hook = RePruneSchedule().attach(model, groups, seed=0, n_images=1)
        assert hook.left_alone.keys() == {"embedding"} and hook.masks.live.keys() == {"fc1"}
        hook = RePruneSchedule(mixed=True).attach(model, groups, seed=0, n_images=1)
        assert not hook.left_alone and hook.masks.live.keys() == {"embedding", "fc1"}


def test_options_round_trip():
    plugin = RePruneSchedule(ratio=0.3, regrow=0.0)
    assert from_json(RePruneSchedule, to_json(plugin), "reprune_schedule") == plugin
