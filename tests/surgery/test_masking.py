"""Silencing: the whole network reads no removed channel, and is itself again afterwards."""

import pytest
import torch
from torch import nn

from compressor.core.errors import ContractViolation
from compressor.graph.engine import follow
from compressor.surgery.masking import silenced
from exporters.signature import ExampleInputs
from tests.networks import LayerNorm2d


def run(model, keep, x):
    """The output with the first group keeping `keep`."""
    (group, *_) = follow(model.eval(), ExampleInputs.of(x, model)).groups
    with torch.no_grad(), silenced([group], {group.name: keep}):
        return model(x)


def test_what_activations_make_of_nothing_is_not_read():
    model = nn.Sequential(nn.Linear(2, 4), nn.Sigmoid(), nn.Linear(4, 1, bias=False))  # sigmoid(0) is one half
    x = torch.randn(3, 2)
    found = run(model, [1, 3], x)
    by_hand = torch.sigmoid(x @ model[0].weight[[1, 3]].T + model[0].bias[[1, 3]]) @ model[2].weight[:, [1, 3]].T
    assert torch.allclose(found, by_hand)
    assert not torch.allclose(found, model(x))


@pytest.mark.parametrize("norm", [nn.GroupNorm(1, 4), LayerNorm2d(4), nn.InstanceNorm2d(4, affine=True)])
def test_norms_see_the_kept_channels_only(norm):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), norm, nn.Conv2d(4, 2, 1))
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    small = {"GroupNorm": lambda: nn.GroupNorm(1, 2), "LayerNorm2d": lambda: LayerNorm2d(2)}.get(
        type(norm).__name__, lambda: nn.InstanceNorm2d(2, affine=True)
    )()
    small.weight.data, small.bias.data = norm.weight.data[[1, 2]], norm.bias.data[[1, 2]]
    x = torch.randn(2, 3, 5, 5)
    inside = small(model[0](x)[:, [1, 2]])
    by_hand = nn.functional.conv2d(inside, model[2].weight[:, [1, 2]], model[2].bias)
    assert torch.allclose(run(model, [1, 2], x), by_hand, atol=1e-5)


def test_what_is_computed_over_fewer_channels_lies_in_memory_as_before():
    """Flattening images whose channels lie innermost takes a copy, which is an operator more."""
    read = nn.Linear(64, 5, bias=False)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(1, 4), nn.Flatten(), read, nn.Tanh(), nn.Linear(5, 2))
    x = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    inside = nn.functional.group_norm(model[0](x)[:, [1, 2]], 1)
    by_hand = inside.flatten(1) @ read.weight.unflatten(1, (4, 16))[:, [1, 2]].flatten(1).T
    assert torch.allclose(run(model, [1, 2], x), model[5](by_hand.tanh()), atol=1e-5)


def test_a_mean_over_channels_is_of_those_that_stay():
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.make, self.read = nn.Linear(3, 4), nn.Linear(4, 2, bias=False)

        def forward(self, x):
            x = self.make(x)
            return self.read(x * x.mean(-1, keepdim=True))

    model, x = Gate(), torch.randn(5, 3)
    kept = model.make(x)[:, [0, 3]]
    by_hand = (kept * kept.mean(-1, keepdim=True)) @ model.read.weight[:, [0, 3]].T
    assert torch.allclose(run(model, [0, 3], x), by_hand, atol=1e-6)


def test_another_run_of_other_operators_is_refused():
    calls = []

    class Changes(nn.Sequential):
        def forward(self, x):
            calls.append(x)
            return super().forward(x if len(calls) == 1 else x.exp())

    model, x = Changes(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)), torch.zeros(1, 2)
    with pytest.raises(ContractViolation, match=r"executes aten\.\S+ where it executed aten\."):
        run(model, [0], x)
