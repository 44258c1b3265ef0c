import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import compressor
from compressor.core.errors import DataError, InvalidOption
from compressor.core.groups import ChannelGroup, Role
from compressor.core.protocols import MethodContext
from compressor.methods.reconstruction import Reconstruction

seeds = st.integers(0, 10_000)


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def two_layers(first, second):
    """Two linear layers with these weights."""
    first, second = torch.as_tensor(first).double(), torch.as_tensor(second).double()
    model = nn.Sequential(nn.Linear(*first.T.shape, bias=False), nn.Linear(*second.T.shape)).double().eval()
    model[0].weight.copy_(first)
    model[1].weight.copy_(second)
    return model


def reading(hand, model, *layers):
    consumers = [hand.member(model, layer, Role.CONSUMER, axis=1, tensors=("weight",)) for layer in layers]
    return hand.group(hand.producer(model, "0"), *consumers)


def scores(model, group, batches, **options):
    context = MethodContext(model, 0, [(batch, torch.zeros(len(batch)).long()) for batch in batches])
    return Reconstruction(**options).scores([group], context).get(group.name)


def test_worked_by_hand(hand):
    # Two independent channels of variances 1 and 4, read with weights 3 and 1: the output's variance is 9 + 4. The
    # second leaves first, which costs 4/13; nothing makes up for the first then, which costs 9/13.
    model = two_layers(torch.eye(2), [[3.0, 1.0]])
    signs = torch.tensor([[1.0, 2.0], [1.0, -2.0], [-1.0, 2.0], [-1.0, -2.0]]).double()
    found = scores(model, reading(hand, model, "1"), [signs] * 50, positions=40, ridge=1e-9)
    np.testing.assert_allclose(found, [9 / 13, 4 / 13], atol=1e-6)


@settings(deadline=None, max_examples=15)
@given(seeds, st.integers(2, 5))
def test_against_the_definition(hand, seed, n):
    """A second computation: the least residual of numpy's own fits, channel after channel."""
    model = two_layers(draw(seed, n, 5), draw(seed + 1, 3, n))
    model[0].weight[:] = model[0].weight @ torch.diag(torch.tensor([3.0, 2, 1, 0.3, 0.1]).double())
    x = draw(seed + 2, 4000, 5)
    found = scores(model, reading(hand, model, "1"), [x], ridge=1e-9)
    hidden = (model[0](x) - model[0](x).mean(0)).numpy()
    output = hidden @ model[1].weight.T.numpy()
    left, highest, expected = list(range(n)), 0.0, np.zeros(n)
    while left:
        costs = {}
        for i in left:
            others = hidden[:, [j for j in left if j != i]]
            residual = output - others @ np.linalg.lstsq(others, output, rcond=None)[0] if len(left) > 1 else output
            now = hidden[:, left]
            current = output - now @ np.linalg.lstsq(now, output, rcond=None)[0]
            costs[i] = (np.square(residual).sum() - np.square(current).sum()) / np.square(output).sum()
        first = min(costs, key=costs.get)
        highest = max(highest, costs[first])
        expected[first] = highest
        left.remove(first)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@settings(deadline=None, max_examples=15)
@given(seeds)
def test_one_of_two_copies_costs_nothing_and_both_cost_something(hand, seed):
    first = draw(seed, 4, 6)
    model = two_layers(torch.cat([first, 2 * first[:1]]), 1 + draw(seed + 1, 3, 5).abs())
    found = scores(model, reading(hand, model, "1"), [draw(seed + 2, 200, 6)])
    assert min(found[0], found[4]) < 0.01 < max(found[0], found[4])
    assert sorted(found.argsort()[:1].tolist())[0] in (0, 4)


@settings(deadline=None, max_examples=10)
@given(seeds, st.integers(0, 4))
def test_channels_that_are_zero_or_that_nothing_reads_leave_first(hand, seed, dead):
    model = two_layers(draw(seed, 5, 6), draw(seed + 1, 3, 5))
    batches, group = [draw(seed + 2, 200, 6)], reading(hand, model, "1")
    model[0].weight[dead] = 0
    assert scores(model, group, batches).argmin() == dead
    model = two_layers(draw(seed, 5, 6), draw(seed + 1, 3, 5))
    model[1].weight[:, dead] = 0
    assert scores(model, group, batches).argmin() == dead and scores(model, group, batches)[dead] < 1e-6


class Two(nn.Module):
    """Two layers that read the same channels."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 3, bias=False), nn.Linear(3, 2), nn.Linear(3, 2)
        self.add_module("0", self.a)

    def forward(self, x):
        return self.b(self.a(x)) + self.c(self.a(x))


def test_several_readers_add_up(hand):
    torch.manual_seed(0)
    model = Two().double().eval()
    x = [draw(0, 3000, 4)]
    every = scores(model, reading(hand, model, "b", "c"), x)
    model.c.weight[:] = model.b.weight  # a reader that says the same again doubles the costs
    twice, once = scores(model, reading(hand, model, "b", "c"), x), scores(model, reading(hand, model, "b"), x)
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-5)
    assert not torch.allclose(every, twice, rtol=0.1)


@pytest.mark.parametrize(
    "layers",
    [
        (nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3, groups=2)),
        (nn.Conv2d(3, 8, 3), nn.ReLU(), nn.ConvTranspose2d(8, 6, 3)),
        (nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)),
    ],
)
def test_the_copy_among_the_channels_is_found_by_every_kind_of_reader(layers):
    torch.manual_seed(0)
    model = nn.Sequential(*layers).double().eval()
    model[0].weight[3], model[0].bias[3] = model[0].weight[1], model[0].bias[1]
    x = draw(0, 400, 3, 8, 8)
    group = next(g for g in compressor.inspect(model, x[:1]).groups if g.name == "0")
    found = scores(model, group, [x], ridge=1e-6)
    if group.n_channels == 8:
        assert found.argmin() in (1, 3) and found.sort().values[1] > 5 * found.min()
    else:  # blocks of a grouped convolution are cut alike: channel 1 stands for 1 and 5, channel 3 for 3 and 7
        assert len(found) == group.n_channels and bool((found > 0).all())


def test_portions_change_nothing(hand, monkeypatch):
    model = two_layers(draw(0, 5, 6), draw(1, 3, 5))
    group, x = reading(hand, model, "1"), [draw(2, 50, 6)]
    other = ChannelGroup("other", group.n_channels, group.members)
    context = MethodContext(model, 0, x)
    together = Reconstruction().scores([group, other], context)
    assert torch.equal(together["0"], together["other"])
    monkeypatch.setattr("compressor.methods.reconstruction.SUMS_BYTES", 1)
    apart = Reconstruction().scores([group, other], context)
    assert all(torch.equal(together[name], apart[name]) for name in together)


def test_groups_that_nothing_of_use_reads_are_chosen_by_l1(hand, monkeypatch):
    model, notes = two_layers(draw(0, 5, 6), draw(1, 3, 5)), []
    context = MethodContext(
        model, 0, [draw(2, 50, 6)], note=lambda group, sentence: notes.append(f"{group}: {sentence}")
    )
    unread = hand.group(hand.producer(model, "0"))
    by_weights = model[0].weight.abs().sum(1)
    torch.testing.assert_close(Reconstruction().scores([unread], context)["0"], by_weights.float())
    assert notes == ["0: no layer that can be refitted reads it; its channels are chosen by l1 instead."]
    read = reading(hand, model, "1")
    whole = hand.group(hand.producer(model, "0"), *read.members)
    monkeypatch.setattr("compressor.methods.reconstruction.WIDEST", 4)
    torch.testing.assert_close(Reconstruction().scores([whole], context)["0"], by_weights.float())


def test_the_model_is_left_as_it_was(hand):
    model = two_layers(draw(0, 5, 6), draw(1, 3, 5)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    scores(model, reading(hand, model, "1"), [draw(2, 50, 6)])
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training and not any(module._forward_hooks for module in model.modules())


def test_no_images_and_options_out_of_range(hand):
    model = two_layers(draw(0, 5, 6), draw(1, 3, 5))
    group = reading(hand, model, "1")
    with pytest.raises(DataError, match="images are needed"):
        Reconstruction().scores([group], MethodContext(model))
    with pytest.raises(DataError, match="at least one image"):
        Reconstruction().scores([group], MethodContext(model, 0, []))
    for options in ({"positions": 0}, {"ridge": 0.0}):
        with pytest.raises(InvalidOption, match=f"`{next(iter(options))}`"):
            Reconstruction(**options)
