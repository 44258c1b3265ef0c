"""Passes that wait at a layer go on with the weight that it has by then."""

import threading

import pytest
import torch
from torch import nn

from compressor.calibration.waiting import WaitingPasses
from exporters.signature import ExampleInputs

NAMES = ["0", "2"]


def stack():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double().eval()


def inputs(n=3):
    return [ExampleInputs(("x",), (torch.randn(5, 3).double(),)) for _ in range(n)]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_each_pass_waits_and_goes_on_with_the_new_weight():
    model, batches = stack(), inputs()
    with torch.no_grad(), WaitingPasses(model, batches, NAMES) as passes:
        assert len(passes) == 3
        for (given, output), batch in zip(passes.reach("0"), batches, strict=True):
            assert torch.equal(given, batch.tensors[0]) and torch.equal(output, model[0](given))
        model[0].weight *= -2
        for (given, output), batch in zip(passes.reach("2"), batches, strict=True):
            assert torch.equal(given, model[:2](batch.tensors[0]))
            assert torch.equal(output, model(batch.tensors[0])) and not output.requires_grad


def test_nothing_is_computed_twice():
    calls = []

    class Counted(nn.Linear):
        def forward(self, x):
            calls.append(len(x))
            return super().forward(x)

    model = nn.Sequential(*(Counted(3, 3) for _ in range(6)))
    with WaitingPasses(model, [ExampleInputs(("x",), (torch.ones(2, 3),))], [str(i) for i in range(6)]) as passes:
        for name in range(6):
            assert next(passes.reach(str(name))) is not None
    assert len(calls) == 11  # once to be seen and once to go on, and the last was only seen


def test_a_layer_that_is_not_called_again():
    with WaitingPasses(stack(), inputs(2), NAMES) as passes:
        assert None not in passes.reach("2")
        assert list(passes.reach("0")) == [None, None]
        assert list(passes.reach("0")) == [None, None]


def test_what_models_keep_of_a_pass_is_their_own():
    class Keeping(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.last = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            self.kept = x
            return self.last(input=self.inner(x) + self.kept)

    model, batches = Keeping().double(), inputs()
    with torch.no_grad(), WaitingPasses(model, batches, ["inner", "last"]) as passes:
        list(passes.reach("inner"))
        for call, batch in zip(passes.reach("last"), batches, strict=True):
            assert torch.equal(call[0], model.inner(batch.tensors[0]) + batch.tensors[0])
    assert not hasattr(model, "kept") and not model.inner._forward_pre_hooks


def test_what_the_model_raises_reaches_the_caller():
    class Failing(nn.Module):
        def forward(self, x):
            raise ValueError("no such size")

    with WaitingPasses(nn.Sequential(nn.Linear(3, 3), Failing(), nn.Linear(3, 3)).double(), inputs(), NAMES) as passes:
        list(passes.reach("0"))
        with pytest.raises(ValueError, match="no such size"):
            list(passes.reach("2"))


def test_an_interrupted_caller_ends_all_passes():
    with pytest.raises(KeyboardInterrupt), WaitingPasses(stack(), inputs(), NAMES) as passes:
        next(passes.reach("0"))
        raise KeyboardInterrupt
