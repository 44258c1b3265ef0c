import pytest
import torch
from torch import nn

from compressor.core.errors import DataError, InvalidOption
from compressor.core.protocols import MethodContext
from compressor.methods.hessian import DiagonalHessian


def scored(model, group, batches, loss=None, **options):
    return DiagonalHessian(**options).scores([group], MethodContext(model, batches=batches, loss=loss))[group.name]


def test_worked_by_hand(hand):
    # y = w a, loss y0^2 / 2: g = y0 a = w0 a^2 for the first weight, 0 for the second. On a = 1 and a = 2 with w0 = 3:
    # g = 3 and 12, h = (9 + 144) / 2 = 76.5, score = 76.5 * 9 / 2.
    model, group = hand.linear([[3.0], [-1.0]])
    images = [(torch.tensor([[1.0], [2.0]]), torch.zeros(2))]
    found = scored(model, group, images, lambda y, _: y[0, 0] ** 2 / 2)
    assert found.tolist() == [76.5 * 9 / 2, 0]


def test_single_images_and_not_their_sum(hand):
    """Two images whose gradients cancel still have curvature."""
    model, group = hand.linear([[2.0]])
    images = [(torch.tensor([[1.0], [-1.0]]), torch.zeros(2))]
    assert scored(model, group, images, lambda y, _: y[0, 0]).tolist() == [2.0]  # g = 1 and -1, h = 1, 4 / 2


def test_against_the_definition(hand):
    """A second computation: torch.func's gradients of every image at once."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9, 3)).eval()
    images, labels = torch.randn(6, 2, 5, 5), torch.randint(3, (6,))
    group = hand.group(hand.producer(model, "0"))
    state = dict(model.named_parameters())

    def loss(parameters, image, label):
        found = torch.func.functional_call(model, parameters, (image[None],))
        return nn.functional.cross_entropy(found, label[None])

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(state, images, labels)
    fisher = {name: gradients.square().mean(0) for name, gradients in each.items()}
    expected = (fisher["0.weight"] * state["0.weight"] ** 2).flatten(1).sum(1) + fisher["0.bias"] * state["0.bias"] ** 2
    batches = [(images[:4], labels[:4]), (images[4:], labels[4:])]
    assert torch.allclose(scored(model, group, batches), expected.detach() / 2, rtol=1e-4)
    # Squared in the loss: twice the loss has four times the squared gradients.
    twice = scored(model, group, batches, lambda y, t: 2 * nn.functional.cross_entropy(y, t))
    assert torch.allclose(twice, 2 * expected.detach(), rtol=1e-4)


def test_only_so_many_images_are_read(hand):
    model, group = hand.linear([[1.0]])

    def batches():
        yield torch.tensor([[1.0], [5.0]]), torch.zeros(2)
        raise AssertionError("read on")

    assert scored(model, group, batches(), lambda y, _: y[0, 0], n_images=1).tolist() == [0.5]


def test_bad_input(hand):
    model, group = hand.linear([[1.0]])
    with pytest.raises(InvalidOption, match="n_images"):
        DiagonalHessian(n_images=0)
    with pytest.raises(DataError, match=r"hessian: labelled images are needed.*--data"):
        scored(model, group, None)
    with pytest.raises(DataError, match="the data holds none"):
        scored(model, group, [])
    with pytest.raises(DataError, match="on image 1 it is nan"):
        scored(model, group, [(torch.tensor([[1.0], [float("nan")]]), torch.zeros(2))], lambda y, _: y[0, 0])
