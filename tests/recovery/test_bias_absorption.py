import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from compressor.core.errors import DataError, InvalidOption, UnsupportedModel
from compressor.core.progress import SilentProgress
from compressor.core.protocols import RecoveryContext
from compressor.recovery._gaussian import gaussian_means, slice_means
from compressor.recovery.bias_absorption import BiasAbsorption, constant_left_behind
from compressor.recovery.neuron_merging import NeuronMerging
from exporters.signature import ExampleInputs

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1)).double()


def network(*between, **consumer):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), *between, nn.Conv2d(6, 4, 3, **consumer))
    unlike(model[1])
    return model.double().eval()


@torch.no_grad()
def unlike(norm):
    norm.weight.uniform_(0.5, 2)
    norm.bias.uniform_(-0.5, 1)
    norm.running_var.uniform_(0.5, 2)


@torch.no_grad()
def make_constant(norm, *channels):
    norm.weight[list(channels)] = 0
    norm.bias[list(channels)] = torch.arange(1.0, len(channels) + 1).to(norm.bias)


def apply(context, listener=None, **options):
    return BiasAbsorption(**options).apply(context, listener or SilentProgress())


@torch.no_grad()
def difference(context, inputs=IMAGES):
    wanted, found = context.original(inputs), context.model(inputs)
    return (found - wanted).abs() / wanted.abs().max()


def same_weights(first, second):
    return all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items())


with_and_without_images = pytest.mark.parametrize("batches", [None, [IMAGES[:3], IMAGES[3:]]], ids=["norms", "images"])


def test_worked_by_hand(cutting):
    # One output, bias 1, reads channels with weights 2 and 3 (the second removed), whose means over the two images are
    # relu(4), relu(-4) -> 2 and relu(10), relu(30) -> 20: the bias becomes 1 + 3 * 20 = 61.
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
        model[2].weight.copy_(torch.tensor([[2.0, 3.0]]))
        model[2].bias.fill_(1)
    images = torch.tensor([[4.0, 10.0], [-4.0, 30.0]])
    context = cutting(model, images, {"0": [0]}, batches=[images])
    facts = apply(context)
    assert context.model[2].bias.tolist() == [61] and context.model[2].weight.tolist() == [[2]]
    assert facts == {"layers": 1, "means_from": "images", "images": 2}


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(6, 4, 3, stride=2), nn.Conv2d(6, 4, 3, groups=2), nn.Conv2d(6, 4, 1), nn.ConvTranspose2d(6, 4, 3),
        nn.ConvTranspose2d(6, 4, 3, groups=2), nn.ConvTranspose2d(6, 4, 3, stride=3),
    ],
    ids=str,
)  # fmt: skip
def test_the_constant_is_what_the_layer_makes_of_constants(layer):
    """The layer itself, on constant maps: the mean of what it returns where all taps are on the map."""
    layer = layer.double()
    mean = torch.randn(6).double()
    with torch.no_grad():
        returned = layer(mean[None, :, None, None].expand(1, 6, 9, 9)) - layer.bias[:, None, None]
    border = 3 if returned.shape[-1] > 9 else 0
    inner = returned[0, :, border : returned.shape[2] - border, border : returned.shape[3] - border]
    torch.testing.assert_close(constant_left_behind(layer, layer.weight.detach(), mean), inner.mean((1, 2)))


@with_and_without_images
def test_constant_channels_leave_nothing_behind(cutting, batches):
    model = network(nn.LeakyReLU())
    make_constant(model[1], 1, 4)
    context = cutting(model, IMAGES[:1], {"0": [0, 2, 3, 5]}, batches=batches)
    assert difference(context).max() > 0.01
    assert apply(context)["layers"] == 1
    assert difference(context).max() < 1e-9


@with_and_without_images
def test_but_for_padded_borders(cutting, batches):
    model = network(nn.ReLU(), padding=1)
    make_constant(model[1], 1, 4)
    context = cutting(model, IMAGES[:1], {"0": [0, 2, 3, 5]}, batches=batches)
    apply(context)
    left = difference(context)
    assert left[:, :, 1:-1, 1:-1].max() < 1e-9 and left[:, :, 0].max() > 1e-3


@with_and_without_images
@pytest.mark.parametrize("between", [nn.SiLU(), nn.ReLU(), nn.AdaptiveAvgPool2d(1)], ids=str)
def test_whatever_lies_between(cutting, batches, between):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), between, nn.MaxPool2d(1), nn.Flatten(), nn.LazyLinear(5)
    )
    model.double()(IMAGES)  # several positions a channel
    unlike(model[1])
    make_constant(model[1], 0, 5)
    context = cutting(model, IMAGES[:1], {"0": [1, 2, 3, 4]}, batches=batches)
    apply(context)
    assert difference(context).max() < 1e-9


@with_and_without_images
def test_a_grouped_reader_and_a_reader_that_loses_outputs(cutting, batches):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3, groups=2), nn.ReLU(), nn.Conv2d(6, 2, 1)
    ).double()
    unlike(model[1])
    make_constant(model[1], 1, 5)  # one channel of both blocks
    model[5].weight.data[:, [0, 3]] = 0  # the outputs that go are not read
    context = cutting(model, IMAGES[:1], {"0": [0, 2, 3], "3": [1, 2]}, batches=batches)
    apply(context)
    assert context.model[3].weight.shape[:2] == (4, 3)
    assert difference(context).max() < 1e-9


@with_and_without_images
def test_a_grouped_transposed_reader_that_loses_outputs(cutting, batches):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.ConvTranspose2d(8, 6, 1, groups=2), nn.ReLU(),
        nn.Conv2d(6, 2, 1),
    ).double()  # fmt: skip
    unlike(model[1])
    make_constant(model[1], 1, 5)
    model[5].weight.data[:, [0, 3]] = 0
    context = cutting(model, IMAGES[:1], {"0": [0, 2, 3], "3": [1, 2]}, batches=batches)
    apply(context)
    assert context.model[3].weight.shape[:2] == (6, 2)
    assert difference(context).max() < 1e-9


def test_a_linear_layer_reads_the_last_axis(cutting):
    tokens = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1)).double()
    model = nn.Sequential(nn.Linear(3, 6), nn.GELU(), nn.Linear(6, 2)).double()
    model[0].weight.data[[1, 4]] = 0
    context = cutting(model, tokens[:1], {"0": [0, 2, 3, 5]})
    apply(context)
    assert difference(context, tokens).max() < 1e-9


class Functional(nn.Module):
    """A layer whose weight is used without calling it."""

    def __init__(self):
        super().__init__()
        self.conv, self.reader = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 2, 1)

    def forward(self, x):
        return functional.conv2d(functional.relu(self.conv(x)), self.reader.weight)


def test_a_layer_that_is_not_called_is_left_out(cutting, listener):
    context = cutting(Functional().double(), IMAGES[:1], {"conv": [0, 1]}, batches=[IMAGES])
    assert apply(context, listener)["no_place"] == "reader"


def test_norms_without_scale_and_shift_are_standard_gaussians(cutting):
    model = network(nn.ReLU())
    model[1] = nn.BatchNorm2d(6, affine=False).double()
    context = cutting(model, IMAGES[:1], {"0": [0]})
    mean, known = gaussian_means(model, context.groups, ["3"], context.inputs, 0)["3"]
    torch.testing.assert_close(mean, torch.full_like(mean, 1 / math.sqrt(2 * math.pi)), rtol=0, atol=1e-3)
    assert known.all()


class Stream(nn.Module):
    """Two normed producers of one stream; a convolution with a norm and one with a bias read it."""

    def __init__(self):
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6)
        self.second, self.second_norm = nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6)
        self.left, self.left_norm = nn.Conv2d(6, 2, 1, bias=False), nn.BatchNorm2d(2)
        self.right = nn.Conv2d(6, 2, 3)

    def forward(self, x):
        x = functional.relu(self.first_norm(self.first(x)) + self.second_norm(self.second(x)))
        return self.left_norm(self.left(x)).mean((2, 3)) + self.right(x).mean((2, 3))


@with_and_without_images
def test_coupled_producers_and_two_readers(cutting, batches):
    model = Stream().double()
    for norm in (model.first_norm, model.second_norm, model.left_norm):
        unlike(norm)
    for norm in (model.first_norm, model.second_norm):
        make_constant(norm, 2, 3)
    context = cutting(model, IMAGES[:1], {"first": [0, 1, 4, 5]}, batches=batches)
    assert apply(context)["layers"] == 2
    assert difference(context).max() < 1e-9
    assert not torch.equal(context.model.left_norm.running_mean, context.original.left_norm.running_mean)


def test_what_is_read_behind_a_relu_is_a_rectified_gaussian(cutting):
    model = network(nn.ReLU())
    model[1].weight.data[2] *= -1
    context = cutting(model, IMAGES[:1], {"0": [0]})
    mean, known = gaussian_means(model, context.groups, ["3"], context.inputs, 0)["3"]
    beta, gamma = model[1].bias.detach(), model[1].weight.detach().abs()
    normal = torch.distributions.Normal(0.0, 1.0)
    density = torch.exp(normal.log_prob(beta / gamma))
    closed_form = gamma * density + beta * normal.cdf(beta / gamma)
    torch.testing.assert_close(mean, closed_form, rtol=0, atol=1e-3)
    assert known.all()


def test_producers_that_are_added_up_are_independent(cutting):
    """The sum of two Gaussians of deviation 1 has deviation sqrt(2), not 2, before the rectifier."""
    model = Stream().double()
    context = cutting(model, IMAGES[:1], {"first": [0]})
    mean, known = gaussian_means(model, context.groups, ["right"], context.inputs, 0)["right"]
    assert mean.mean().item() == pytest.approx(math.sqrt(2) / math.sqrt(2 * math.pi), rel=0.1) and known.all()


def test_slices_of_the_gaussian():
    # Halves: E[z | z > 0] = sqrt(2 / pi).
    torch.testing.assert_close(slice_means(2), torch.tensor([-1.0, 1.0]).double() * math.sqrt(2 / math.pi))
    many = slice_means(100)
    assert float(many.mean()) == pytest.approx(0, abs=1e-12) and float(many.square().mean()) == pytest.approx(
        1, abs=0.02
    )


def test_with_images_each_output_keeps_its_mean(cutting):
    context = cutting(network(nn.ReLU()), IMAGES[:1], {"0": [0, 3, 5]}, batches=[IMAGES])
    apply(context)
    with torch.no_grad():
        wanted, found = context.original(IMAGES).mean((0, 2, 3)), context.model(IMAGES).mean((0, 2, 3))
    assert float((wanted - found).abs().max()) < 0.1 * float((wanted - wanted.mean()).abs().max())


def test_as_many_images_as_asked_for(cutting):
    context = cutting(network(nn.ReLU()), IMAGES[:1], {"0": [0]}, batches=[IMAGES[:1]] * 5)
    assert apply(context, n_images=3)["images"] == 3


def test_what_merging_has_put_into_weights_is_not_added_twice(cutting):
    model = network(nn.ReLU())
    with torch.no_grad():
        for tensor in (model[0].weight, model[0].bias, *model[1].state_dict().values()):
            if tensor.dim():
                tensor[4] = tensor[1]
    context = cutting(model, IMAGES[:1], {"0": [0, 1, 2, 3, 5]}, batches=[IMAGES])
    NeuronMerging().apply(context, SilentProgress())
    apply(context)
    assert difference(context).max() < 1e-9


def test_without_images_a_channel_without_a_norm_is_known_if_its_weights_are_zero(cutting, listener):
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3)).double()
    model[0].weight.data[[1, 4]] = 0
    model[0].bias.data[[1, 4]] = 2
    context = cutting(model, IMAGES[:1], {"0": [0, 2, 3, 5]})
    assert "inputs_unknown" not in apply(context)
    assert difference(context).max() < 1e-9
    context = cutting(model, IMAGES[:1], {"0": [0, 2, 3]})
    before = copy.deepcopy(context.model)
    assert apply(context, listener)["inputs_unknown"] == 1
    assert "Give images" in listener.notes[0]
    zeros = cutting(model, IMAGES[:1], {"0": [0, 2, 3, 5]})
    apply(zeros)
    assert torch.equal(context.model[2].bias, zeros.model[2].bias) and not same_weights(context.model, before)


def test_where_there_is_no_place_it_says_so(cutting, listener):
    context = cutting(network(nn.ReLU(), bias=False), IMAGES[:1], {"0": [0, 1]})
    before = copy.deepcopy(context.model)
    facts = apply(context, listener)
    assert facts["layers"] == 0 and facts["no_place"] == "3" and "3: nothing is added" in listener.notes[0]
    assert same_weights(context.model, before)


def test_nothing_but_places_for_constants_changes(cutting):
    context = cutting(network(nn.ReLU()), IMAGES[:1], {"0": [0, 1]}, batches=[IMAGES])
    whole, before = copy.deepcopy(context.original), copy.deepcopy(context.model)
    apply(context)
    changed = [n for n, t in before.state_dict().items() if not torch.equal(t, context.model.state_dict()[n])]
    assert changed == ["3.bias"] and same_weights(context.original, whole)


def test_bad_data(cutting):
    context = cutting(network(nn.ReLU()), IMAGES[:1], {"0": [0]}, batches=[])
    with pytest.raises(DataError, match="at least one image"):
        apply(context)
    context = cutting(network(nn.ReLU()), IMAGES[:1], {"0": [0]}, batches=[torch.zeros(2, 5, 8, 8)])
    with pytest.raises(DataError, match=r"does not accept a batch of shape \(2, 5, 8, 8\)"):
        apply(context)


def test_weights_that_are_no_numbers(cutting):
    context = cutting(network(nn.ReLU()), IMAGES[:1], {"0": [0, 1, 2]})
    context.original[3].weight.data[0, 0, 0, 0] = float("inf")
    with pytest.raises(UnsupportedModel, match=r"3\.weight: weights must be finite"):
        apply(context)


def test_without_a_plan_it_says_so(listener):
    model = network(nn.ReLU())
    context = RecoveryContext(copy.deepcopy(model), model, inputs=ExampleInputs(("x",), (IMAGES,)))
    assert "skipped" in apply(context, listener) and listener.notes


@pytest.mark.parametrize("option", ["n_images", "batch_size"])
def test_options_out_of_range(option):
    with pytest.raises(InvalidOption, match=f"`{option}`"):
        BiasAbsorption(**{option: 0})
