"""Hooks in the loop: when they are called, what they are told, and that a killed run goes on with their memory."""

from dataclasses import replace

import pytest
import torch

from compressor.training.averaging import WeightAveraging
from compressor.training.hooks import Hook, Moment


class Noting(Hook):
    """Writes down what it is called with, and remembers a sum of gradients that later steps depend on."""

    def __init__(self, model, options=1):
        self.options, self.model = options, model
        self.seen, self.total = [], torch.zeros_like(model[0].weight)

    def penalty(self, moment):
        self.seen.append("penalty")
        return 0.01 * self.model[0].weight.square().sum()

    def before_step(self, moment):
        self.seen.append("before")
        self.total += self.model[0].weight.grad
        self.model[0].weight.grad += 0.1 * self.total

    def after_step(self, moment):
        self.seen.append(("after", moment.step, moment.epoch, moment.lr))

    def end_epoch(self, moment):
        self.seen.append(("epoch", moment.epoch))
        self.total /= 2

    def finish(self):
        self.seen.append("finish")

    def state(self):
        return {"total": self.total}

    def restore(self, state):
        self.total = state["total"].clone()

    def sparsity(self):
        return 0.25


def test_the_order_of_calls(tiny):
    model, listener = tiny.network(), tiny.Listener()
    hook = Noting(model)
    tiny.run(model, hooks=[hook], progress=listener)
    after = [seen for seen in hook.seen if seen[0] == "after"]
    assert hook.seen[:2] == ["penalty", "before"] and hook.seen[2] == after[0]
    assert [(step, epoch) for _, step, epoch, _ in after] == [(step, step // 6) for step in range(18)]
    assert max(rate for *_, rate in after) == tiny.RECIPE.lr and after[-1][-1] < 0.05 * tiny.RECIPE.lr
    assert [seen for seen in hook.seen if seen[0] == "epoch"] == [("epoch", 0), ("epoch", 1), ("epoch", 2)]
    assert hook.seen[-2:] == [("epoch", 2), "finish"] and hook.seen.count("finish") == 1
    assert ", sparsity 25.0%, " in listener.step_notes[-1]


def test_penalties_count(tiny, assert_same):
    """A penalty with gradient g is the same as g added between backward and step."""

    class Penalty(Hook):
        def __init__(self, model):
            self.weight = model[0].weight

        def penalty(self, moment):
            return 0.5 * self.weight.square().sum()

    class Gradient(Penalty):
        penalty = Hook.penalty

        def before_step(self, moment):
            self.weight.grad += self.weight.detach()

    models = [tiny.network() for _ in range(3)]
    for model, kind in zip(models, (Penalty, Gradient, None), strict=True):
        tiny.run(model, hooks=[kind(model)] if kind else [])
    torch.testing.assert_close(models[0].state_dict(), models[1].state_dict(), rtol=1e-4, atol=1e-5)
    assert (models[0][0].weight - models[2][0].weight).abs().max() > 0.01


@pytest.mark.parametrize("stop_at", [3, 6, 7, 18])
def test_what_hooks_remember_goes_on(tiny, assert_same, tmp_path, stop_at):
    def stop(n):
        if n == stop_at:
            raise KeyboardInterrupt

    whole = tiny.network()
    tiny.run(whole, hooks=[Noting(whole), WeightAveraging(whole, 0.5)])
    stopped = tiny.network()
    with pytest.raises(KeyboardInterrupt):
        hooks = [Noting(stopped), WeightAveraging(stopped, 0.5)]
        tiny.run(stopped, tmp_path, tiny.Listener(stop), hooks=hooks)
    again, listener = tiny.network(), tiny.Listener()
    hooks = [Noting(again), WeightAveraging(again, 0.5)]
    tiny.run(again, tmp_path, listener, hooks=hooks)
    assert listener.n == 19 - stop_at
    assert_same(again, whole)


def test_an_epoch_that_was_saved_is_over(tiny, assert_same, tmp_path):
    """Whatever is saved last before an epoch's end lies within it, or holds what the hooks do at its end."""
    whole = tiny.network()
    tiny.run(whole, hooks=[Noting(whole)])

    class Stopping(Noting):
        def end_epoch(self, moment):
            raise KeyboardInterrupt

    stopped = tiny.network()
    with pytest.raises(KeyboardInterrupt):
        tiny.run(stopped, tmp_path, hooks=[Stopping(stopped)])
    again = tiny.network()

    class Going(Noting):
        def __repr__(self):
            return repr(Stopping(again))

    tiny.run(again, tmp_path, hooks=[Going(again)])
    assert_same(again, whole)


def test_other_hooks_begin_anew(tiny, tmp_path):
    model = tiny.network()
    tiny.run(model, tmp_path, hooks=[Noting(model)])
    for other in ([Noting(tiny.network(), options=2)], []):
        listener = tiny.Listener()
        tiny.run(tiny.network(), tmp_path, listener, hooks=other)
        assert "other options or weights" in listener.notes[0]


def test_averaging_by_hand():
    layer = torch.nn.BatchNorm1d(1)
    averaging = WeightAveraging(layer, 0.2)
    layer.weight.data.fill_(2.0)
    layer.running_mean.fill_(1.0)
    averaging.after_step(Moment(0, 2, 2, 0.1))  # d = 1/10: 0.1 * 1 + 0.9 * 2
    layer.weight.data.fill_(3.0)
    averaging.after_step(Moment(1, 2, 2, 0.1))  # d = 2/11: 0.1818 * 1.9 + 0.8182 * 3
    averaging.finish()
    assert layer.weight.item() == pytest.approx(2 / 11 * 1.9 + 9 / 11 * 3)
    assert layer.running_mean.item() == pytest.approx(2 / 11 * 0.9 + 9 / 11)
    assert layer.num_batches_tracked.item() == 0


def test_averaging_of_what_does_not_change(tiny, assert_same):
    model, same = tiny.network(), tiny.network()
    averaging = WeightAveraging(model, 0.999)
    for step in range(5):
        averaging.after_step(Moment(step, 5, 5, 0.1))
    averaging.finish()
    torch.testing.assert_close(model.state_dict(), same.state_dict())


def test_the_recipe_averages(tiny):
    plain, averaged = tiny.network(), tiny.network()
    tiny.run(plain)
    tiny.run(averaged, recipe=replace(tiny.RECIPE, averaging=0.9))
    difference = (plain[0].weight - averaged[0].weight).abs().max()
    assert 0 < difference < 0.5
