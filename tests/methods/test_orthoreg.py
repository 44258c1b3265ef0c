import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compressor.core.errors import DataError
from compressor.core.protocols import MethodContext
from compressor.methods.orthoreg import OrthoRegImportance


def scored(model, group, batches, loss=None):
    return OrthoRegImportance().scores([group], MethodContext(model, batches=batches, loss=loss))[group.name]


def test_worked_by_hand(hand):
    # y = w a + b, loss the mean of the first output: g_w = mean a = 2, g_b = 1; (3 * 2 + 5)^2. The other has no part.
    model = nn.Sequential(nn.Linear(1, 2))
    model[0].weight.data, model[0].bias.data = torch.tensor([[3.0], [7.0]]), torch.tensor([5.0, 1.0])
    images = [(torch.tensor([[1.0], [3.0]]), torch.zeros(2))]
    assert scored(model, hand.group(hand.producer(model, "0")), images, lambda y, _: y[:, 0].mean()).tolist() == [
        121,
        0,
    ]


def test_images_whose_gradients_cancel_score_nothing(hand):
    """In one batch or in two: the square comes last (taylor takes it batch by batch)."""
    model, group = hand.linear([[2.0]])
    images, labels = torch.tensor([[1.0], [-1.0]]), torch.zeros(2)
    for batches in ([(images, labels)], [(images[:1], labels[:1]), (images[1:], labels[1:])]):
        assert scored(model, group, batches, lambda y, _: y.mean()).tolist() == [0.0]


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.integers(1, 5))
def test_against_the_definition_however_the_images_are_batched(hand, seed, size):
    """A second computation: the derivative by a gate on each channel, over all images at once."""
    generator = torch.Generator().manual_seed(seed)
    first, second = nn.Linear(3, 4), nn.Linear(4, 2)
    model = nn.Sequential(first, nn.Tanh(), second)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    images, labels = torch.randn(7, 3, generator=generator), torch.randint(2, (7,), generator=generator)
    gate = torch.ones(4, requires_grad=True)
    loss = nn.functional.cross_entropy(second(torch.tanh(first(images) * gate)), labels)
    expected = torch.autograd.grad(loss, gate)[0].square()
    batches = list(zip(images.split(size), labels.split(size), strict=True))
    found = scored(model, hand.group(hand.producer(model, "0")), batches)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-7)


def test_producers_of_a_coupled_group_are_added_before_the_square(hand):
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    model[0].weight.data, model[1].weight.data = torch.tensor([[2.0]]), torch.tensor([[-2.0]])

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.both = model

        def forward(self, x):
            return self.both[0](x) + self.both[1](x)

    both = Both()
    group = hand.group(hand.producer(both, "both.0"), hand.producer(both, "both.1"))
    assert scored(both, group, [(torch.ones(1, 1), torch.zeros(1))], lambda y, _: y.mean()).tolist() == [0.0]


def test_bad_input(hand):
    model, group = hand.linear([[1.0]])
    with pytest.raises(DataError, match=r"orthoreg: labelled images are needed.*--data"):
        scored(model, group, None)
    with pytest.raises(DataError, match="the data holds none"):
        scored(model, group, [])
    with pytest.raises(DataError, match="on batch 0 it is nan"):
        scored(model, group, [(torch.tensor([[float("nan")]]), torch.zeros(1))], lambda y, _: y[0, 0])
