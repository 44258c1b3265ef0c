"""torch.compile in the loop: only where it pays, and never another result."""

import re
import shutil
import time
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn

from compressor.core.errors import InvalidOption
from compressor.core.progress import SilentProgress
from compressor.training import compiling
from compressor.training.compiling import Calls, try_compiled
from compressor.training.loop import train
from compressor.training.losses.attention_transfer import AttentionTransfer
from compressor.training.losses.cross_entropy import CrossEntropy
from compressor.training.update import Objective

INPUTS = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None, reason="torch.compile needs a C++ compiler"
)


def tried(tiny, wish="auto", n_steps=10**9, teacher=None, progress=None):
    torch.manual_seed(0)
    model = tiny.network().train()
    return model, try_compiled(model, teacher, INPUTS, nullcontext, n_steps, wish, progress or SilentProgress())


class Standing(nn.Module):
    """In the place of what torch.compile makes."""

    def __init__(self, module, seconds=0.0, factor=1.0):
        super().__init__()
        self.module, self.seconds, self.factor = module, seconds, factor

    def forward(self, x):
        time.sleep(self.seconds)
        return self.factor * self.module(x)


class Slow(nn.Module):
    """A network that something may be made faster of."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        time.sleep(0.02)
        return self.module(x)


def test_short_trainings_are_left_alone(tiny, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda _model: pytest.fail("compiled"))
    model, calls = tried(tiny, n_steps=10)
    assert calls == Calls(model, None)


def test_the_models_are_left_as_they_are(tiny, monkeypatch):
    monkeypatch.setattr(torch, "compile", Standing)
    fresh = tiny.network().state_dict()
    model = tiny.network().train()
    before = torch.random.get_rng_state()
    try_compiled(model, None, INPUTS, nullcontext, 10**9, "auto", SilentProgress())
    assert torch.equal(torch.random.get_rng_state(), before)  # dropout has drawn some
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in model.state_dict().items())
    assert model.training and all(parameter.grad is None for parameter in model.parameters())


def test_what_is_slower_is_not_used(tiny, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda model: Standing(model, seconds=0.02))
    listener = tiny.Listener()
    model, calls = tried(tiny, progress=listener)
    assert calls.model is model and not any(calls.compiled)
    assert re.fullmatch(r"torch.compile is not used: a pass is 0\.\d\d times as fast with it\.", listener.notes[0])
    assert isinstance(tried(tiny, wish="always")[1].model, Standing)  # as it was wished


def test_what_is_faster_is_used(tiny, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda slow: Standing(slow.module))
    model, teacher = Slow(tiny.network()).train(), Slow(tiny.network(1)).eval()
    calls = try_compiled(model, teacher, INPUTS, nullcontext, 10**9, "auto", SilentProgress())
    assert calls.compiled == (True, True) and calls.model.module is model.module
    assert calls.teacher.module is teacher.module


def test_a_teacher_that_is_no_faster_stays(tiny, monkeypatch):
    monkeypatch.setattr(
        torch, "compile", lambda made: Standing(made.module) if isinstance(made, Slow) else Standing(made, seconds=0.02)
    )
    teacher = tiny.network(1).eval()
    calls = try_compiled(Slow(tiny.network()).train(), teacher, INPUTS, nullcontext, 10**9, "auto", SilentProgress())
    assert calls.compiled == (True, False) and calls.teacher is teacher


def test_another_function_is_not_used(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda model: Standing(model, factor=1.1))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    calls = try_compiled(model, None, INPUTS, nullcontext, 10**9, "auto", SilentProgress())
    assert calls.model is model and not any(calls.compiled)
    with pytest.raises(InvalidOption, match="it computes something else"):
        try_compiled(model, None, INPUTS, nullcontext, 10**9, "always", SilentProgress())


def test_where_it_cannot_compile(tiny, monkeypatch):
    def fail(_model):
        raise RuntimeError("no C++\ncompiler")

    monkeypatch.setattr(torch, "compile", fail)
    listener = tiny.Listener()
    model, calls = tried(tiny, progress=listener)
    assert calls.model is model and listener.notes == ["torch.compile is not used: it failed (no C++ compiler)."]
    assert listener.titles == [("trying torch.compile", None)]
    with pytest.raises(InvalidOption, match=r"it failed \(no C\+\+ compiler\). Leave --compile out"):
        tried(tiny, wish="always")


def test_losses_on_feature_maps_are_not_compiled(tiny):
    objective = Objective([(1.0, CrossEntropy())], feature_losses=[(1.0, AttentionTransfer())])

    def run(wish):
        recipe = replace(tiny.RECIPE, epochs=1, compile=wish)
        return train(tiny.network(), tiny.dataset(), recipe, objective, teacher=tiny.network(1))

    with pytest.raises(InvalidOption, match="where feature maps are compared"):
        run("always")
    assert run("auto").compiled is None


@needs_compiler
def test_a_compiled_training_is_the_same_training(tiny, tmp_path):
    """Near the one that is not compiled; and bit for bit the same where it was stopped and went on."""

    class Stopped(Exception):
        pass

    def stop(n):
        if n == 7:
            raise Stopped

    plain = tiny.network()
    without = tiny.run(plain, recipe=replace(tiny.RECIPE, compile="never"))
    recipe = replace(tiny.RECIPE, compile="always")
    whole, continued = tiny.network(), tiny.network()
    result = tiny.run(whole, recipe=recipe)
    assert result.compiled == [True, True] and without.compiled is None
    assert result.losses == pytest.approx(without.losses, rel=0.05)  # dropout draws other numbers
    with pytest.raises(Stopped):
        tiny.run(tiny.network(), tmp_path, tiny.Listener(stop), recipe)
    tiny.run(continued, tmp_path, recipe=recipe)
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), continued.state_dict().values(), strict=True)
    )


@needs_compiler
def test_the_real_compiler_computes_the_same():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).train()
    calls = try_compiled(model, None, INPUTS, nullcontext, 1, "always", SilentProgress())
    assert calls.compiled == (True, False)
    torch.testing.assert_close(calls.model(INPUTS), model(INPUTS), rtol=1e-4, atol=1e-5)
    again = compiling.as_before(model, None, [False, False])
    assert again.model is model
