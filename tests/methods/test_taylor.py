import copy

import pytest
import torch
from torch import nn

from compressor.core.errors import DataError, InvalidOption
from compressor.core.protocols import MethodContext
from compressor.methods.taylor import TaylorLoss


class Net(nn.Module):
    """Two branches that are added, with norms that hold statistics of their own."""

    def __init__(self):
        super().__init__()
        self.left, self.left_bn = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.right, self.right_bn = nn.Conv2d(2, 4, 1, bias=False), nn.BatchNorm2d(4)
        self.inner = nn.Conv2d(4, 3, 3)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(3, 5)
        self.unused = nn.Linear(2, 3)
        for bn in (self.left_bn, self.right_bn):
            bn.running_mean.normal_()
            bn.running_var.uniform_(0.5, 2)
            nn.init.uniform_(bn.weight, 0.5, 1.5)
            nn.init.normal_(bn.bias)

    def forward(self, x):
        both = torch.relu(self.left_bn(self.left(x)) + self.right_bn(self.right(x)))
        return self.head(self.drop(torch.relu(self.inner(both)).mean((2, 3))))


@pytest.fixture
def net():
    return Net()


@pytest.fixture
def batches():
    return [(torch.randn(6, 2, 5, 5), torch.randint(5, (6,))) for _ in range(3)]


def stream(hand, net):
    norms = [hand.channelwise(net, name) for name in ("left_bn", "right_bn")]
    return hand.group(hand.producer(net, "left"), hand.producer(net, "right"), *norms)


def inner(hand, net):
    return hand.group(hand.producer(net, "inner"))


def gate_scores(net, layers, batches, n):
    """The mean squared derivative of the loss with respect to one gate per channel, behind each of `layers`."""
    twin = copy.deepcopy(net).eval()
    gate = torch.ones(n, requires_grad=True)
    for layer in layers:
        twin.get_submodule(layer).register_forward_hook(lambda _, __, out: out * gate[:, None, None])
    losses = (nn.functional.cross_entropy(twin(x), y) for x, y in batches)
    return torch.stack([torch.autograd.grad(loss, gate)[0] ** 2 for loss in losses]).mean(0)


def scored(net, group, batches, **options):
    return TaylorLoss(**options).scores([group], MethodContext(net, batches=batches))[group.name]


def test_worked_by_hand(hand):
    # y = 3a with a = 2; loss y^2 = 36, dloss/dw = 2 * 6 * 2 = 24; (24 * 3)^2. The other channel: (0 * -1)^2.
    model, group = hand.linear([[3.0], [-1.0]])
    context = MethodContext(model, batches=[(torch.tensor([[2.0]]), torch.zeros(1))], loss=lambda y, _: y[0, 0] ** 2)
    assert TaylorLoss().scores([group], context)["0"].tolist() == [72**2, 0]


def test_equals_the_derivative_by_a_gate_on_the_channel(hand, net, batches):
    expected = gate_scores(net, ["inner"], batches, 3)
    assert torch.allclose(scored(net, inner(hand, net), batches), expected, rtol=1e-4)


def test_one_gate_for_all_producers_of_a_coupled_group(hand, net, batches):
    expected = gate_scores(net, ["left", "right"], batches, 4)
    assert torch.allclose(scored(net, stream(hand, net), batches), expected, rtol=1e-4)


def test_gate_behind_the_norms(hand, net, batches):
    expected = gate_scores(net, ["left_bn", "right_bn"], batches, 4)
    assert torch.allclose(scored(net, stream(hand, net), batches, gate="norm"), expected, rtol=1e-4)
    without = inner(hand, net)
    assert torch.equal(scored(net, without, batches, gate="norm"), scored(net, without, batches))


def test_batch_statistics_would_hide_the_filters(net, batches):
    # Why the model is put into evaluation mode: behind batch statistics, the gradient along the filter is zero.
    x, y = batches[0]
    net.drop.p = 0.0
    nn.functional.cross_entropy(net.train()(x), y).backward()
    along = (net.right.weight * net.right.weight.grad).flatten(1).sum(1)
    assert along.abs().max() < 1e-4 * net.right.weight.grad.abs().max()


def test_layers_that_the_loss_does_not_see_score_zero(hand, net, batches):
    assert scored(net, hand.group(hand.producer(net, "unused")), batches).tolist() == [0, 0, 0]


def test_modes_gradients_buffers_and_frozen_weights_are_left_alone(hand, net, batches):
    net.train()
    net.left_bn.eval()
    net.inner.weight.requires_grad_(False)
    net.head.bias.grad = torch.ones(5)
    state, modes = copy.deepcopy(net.state_dict()), [module.training for module in net.modules()]
    torch.manual_seed(7)
    expected_next = torch.rand(1)
    torch.manual_seed(7)
    with torch.no_grad():
        frozen = scored(net, inner(hand, net), batches)
    assert torch.equal(torch.rand(1), expected_next)
    assert frozen.max() > 0
    assert [module.training for module in net.modules()] == modes
    assert not net.inner.weight.requires_grad
    assert all(p.grad is None for name, p in net.named_parameters() if name != "head.bias")
    assert torch.equal(net.head.bias.grad, torch.ones(5))
    assert all(torch.equal(before, net.state_dict()[name]) for name, before in state.items())


class Counting(nn.Module):
    """A layer that writes a buffer in evaluation mode too, and that fails on the second call."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        if self.calls > 1:
            raise ZeroDivisionError
        return x


def test_all_is_put_back_when_the_model_fails(hand):
    model = nn.Sequential(nn.Linear(2, 3), Counting()).requires_grad_(False)
    group = hand.group(hand.producer(model, "0"))
    with pytest.raises(ZeroDivisionError):
        scored(model, group, [(torch.zeros(1, 2), torch.zeros(1).long())] * 2)
    assert model.training and model[1].calls == 0 and not model[0].weight.requires_grad


def test_bad_input(hand, net):
    group = inner(hand, net)
    with pytest.raises(InvalidOption, match="'filter' or 'norm', but got 'door'"):
        TaylorLoss(gate="door")
    with pytest.raises(DataError, match="labelled batches are needed"):
        scored(net, group, None)
    with pytest.raises(DataError, match="at least one labelled batch"):
        scored(net, group, [])
    with pytest.raises(DataError, match="on batch 0 it is nan"):
        scored(net, group, [(torch.full((2, 2, 5, 5), float("nan")), torch.zeros(2).long())])
