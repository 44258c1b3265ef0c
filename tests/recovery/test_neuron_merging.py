import copy
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import nn
from torch.nn import functional

from compressor.core.errors import InvalidOption, UnsupportedModel
from compressor.core.groups import ChannelGroup
from compressor.core.progress import SilentProgress
from compressor.core.protocols import RecoveryContext
from compressor.recovery._channels import CutGroup
from compressor.recovery._merging import CopyTest
from compressor.recovery._moments import rectified_moments
from compressor.recovery._scales import Filters, Norm, batch_norm_rule, folded_rule, many_rule, moments_rule
from compressor.recovery.neuron_merging import FORMS, NeuronMerging

CORRECT = [form for form in FORMS if form != "released"]
IMAGES = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1)).double()


def network(*between, norm=True, **consumer):
    """A convolution of six channels, what is between, and a convolution that reads it."""
    torch.manual_seed(0)
    behind = [nn.BatchNorm2d(6)] if norm else []
    model = nn.Sequential(nn.Conv2d(3, 6, 3), *behind, *between, nn.Conv2d(6, 4, 3, **consumer)).double().eval()
    if norm:
        unlike(model[1])
    return model


def unlike(norm):
    """Scales, shifts and statistics as training leaves them."""
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.uniform_(-0.5, 0.5)
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)


@torch.no_grad()
def make_multiple(model, channel, of, factor, scale=None):
    """Filter `channel` becomes `factor` times `of`; behind its norm the channel is `scale` times the other."""
    conv, norm = model[0], model[1]
    conv.weight[channel] = factor * conv.weight[of]
    conv.bias[channel] = factor * conv.bias[of]
    if isinstance(norm, nn.BatchNorm2d):
        sigma = (norm.running_var + norm.eps).sqrt()
        conv.bias[channel] += 0.7  # the running mean takes that away again
        norm.running_mean[channel] = factor * norm.running_mean[of] + 0.7
        norm.weight[channel] = scale * norm.weight[of] * sigma[channel] / sigma[of] / factor
        norm.bias[channel] = scale * norm.bias[of]


def apply(context, listener=None, **options):
    return NeuronMerging(**options).apply(context, listener or SilentProgress())


def as_before(context, inputs=IMAGES):
    """Largest difference between the small and the original model, relative to the outputs."""
    with torch.no_grad():
        wanted, found = context.original(inputs), context.model(inputs)
    return float((found - wanted).abs().max() / wanted.abs().max())


def same_weights(first, second):
    return all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items())


def cut_of(n_channels, kept):
    gone = [channel for channel in range(n_channels) if channel not in kept]
    return CutGroup(ChannelGroup("0", n_channels, ()), torch.tensor(kept), torch.tensor(gone))


def normed(weight, gamma, beta, mean, variance, eps=0.0):
    columns = (torch.tensor(each).double()[:, None] for each in (gamma, beta, mean, variance))
    rows = torch.tensor(weight).double()[:, None]
    return Filters(rows, torch.zeros(len(rows), 1).double(), Norm(*columns, eps))


def test_batch_norm_rule_worked_by_hand():
    # Removed: w (4, 0), gamma 3, beta 1, mean 2, variance 4. Kept: (2, 0) and (0, 1), gamma 1 and 1, beta 1 and 0, mean
    # 1 and 0, variance 1. s = 2, S = 2 * 3/1 * 1/2 = 3 and B = 1 + 3/2 * (2 * (1 - 1) - 2) = -2 for the first;
    # s = 4, S = 4 * 3 * 1/2 = 6, B = 1 + 3/2 * (0 - 2) = -2 for the second. |B|/S: 2/3 and 1/3, stretched 1 and 0.
    # lam 0.85: 0.85 * 0 + 0.15 * 1 = 0.15 against 0.85 * 1 + 0: the first. lam 0.1: 0.9 against 0.1: the second,
    # whose cosine 0 is below the threshold.
    weight = [[2.0, 0.0], [0.0, 1.0], [4.0, 0.0]]
    filters = normed(weight, [1.0, 1.0, 3.0], [1.0, 0.0, 1.0], [1.0, 0.0, 2.0], [1.0, 1.0, 4.0])
    cut = cut_of(3, [0, 1])
    assert batch_norm_rule(filters, cut, 0.1, 0.85, released=False).tolist() == [[3, 0]]
    assert batch_norm_rule(filters, cut, 0.1, 0.1, released=False).tolist() == [[0, 0]]
    assert batch_norm_rule(filters, cut, 0.0, 0.1, released=False).tolist() == [[0, 6]]
    # lam 0.3: 0.7 against 0.3; not stretched it would be 0.7 * 2/3 against 0.3 + 0.7/3, the first.
    assert batch_norm_rule(filters, cut, 0.0, 0.3, released=False).tolist() == [[0, 6]]
    # Released: S = 2 * 1/3 * 4/1 = 8/3 with variances.
    assert batch_norm_rule(filters, cut, 0.1, 0.85, released=True)[0, 0] == pytest.approx(8 / 3)


def test_left_over_constants_decide_between_equal_angles():
    # Both kept filters are the removed one; the second has its shift too (B = 0), the first has not (B = 1).
    filters = normed([[1.0, 0.0]] * 3, [1.0] * 3, [0.0, 1.0, 1.0], [0.0] * 3, [1.0] * 3)
    assert batch_norm_rule(filters, cut_of(3, [0, 1]), 0.1, 0.85, released=False).tolist() == [[0, 1]]


def test_equal_constants_leave_the_choice_to_the_angle():
    filters = normed([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]], [1.0] * 3, [0.0] * 3, [0.0] * 3, [1.0] * 3)
    assert batch_norm_rule(filters, cut_of(3, [0, 1]), 0.1, 0.5, released=False).tolist() == [[0, 1]]


def test_a_channel_without_variance_is_its_shift():
    # Whatever gamma, the channels are the constants 1 and 3, so 3 times the first is the second.
    filters = normed([[1.0, 1.0], [1.0, 0.0]], [5.0, 7.0], [1.0, 3.0], [0.0] * 2, [0.0] * 2, eps=1e-5)
    assert moments_rule(filters, cut_of(2, [0]), 0.1, 1e-12).item() == pytest.approx(3)


@pytest.mark.parametrize(
    ("gamma", "expected"), [([0.0, 1.0, 1.0], [0, 1]), ([-1.0, 1.0, 1.0], [0, 1]), ([0.0, -1.0, 1.0], [0, 0])]
)
def test_scales_of_zero_and_of_the_other_sign_are_passed_over(gamma, expected):
    filters = normed([[1.0, 0.0]] * 3, gamma, [0.0] * 3, [0.0] * 3, [1.0] * 3)
    assert batch_norm_rule(filters, cut_of(3, [0, 1]), 0.1, 0.85, released=False).tolist() == [expected]
    assert batch_norm_rule(filters, cut_of(3, [0]), 0.1, 0.85, released=False).isfinite().all()


def test_folded_and_many_worked_by_hand():
    # (3, 4) has cosines 0.6 and 0.8 with the axes; as a sum of them it is 3 and 4 times, as long as nothing is ridged.
    rows = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0], [-1.0, 0.0]]).double()
    cut = cut_of(4, [0, 1])
    assert folded_rule(rows, cut, 0.1).tolist() == [[0, 2.5], [0, 0]]
    many = many_rule(rows, cut, 0.1, 1e-12)
    torch.testing.assert_close(many, torch.tensor([[3.0, 2.0], [0.0, 0.0]]).double())


def test_many_against_a_general_minimiser():
    rows = torch.randn(7, 5, generator=torch.Generator().manual_seed(3)).double()
    cut, ridge = cut_of(7, [0, 1, 2, 3]), 0.05
    kept = rows[cut.kept].numpy()
    r = ridge * (kept**2).sum(1).mean()
    for row, channel in zip(many_rule(rows, cut, -2, ridge), cut.gone.tolist(), strict=True):
        target = rows[channel].numpy()

        def loss(z, target=target):
            return ((target - z @ kept) ** 2).sum() + r * (z**2).sum()

        best = minimize(loss, [0.1] * 4, bounds=[(0, None)] * 4, tol=1e-14)
        assert row.tolist() == pytest.approx(best.x.tolist(), abs=1e-5)


def test_moments_against_sampling():
    mean, std = torch.tensor([0.3, -0.5, 0.0]).double(), torch.tensor([1.0, 2.0, -0.5]).double()
    root = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.5, 0.5, 0.5**0.5]]).double()
    z = torch.randn(1_000_000, 3, generator=torch.Generator().manual_seed(0)).double() @ root.T
    drawn = torch.relu(mean + std * z)
    torch.testing.assert_close(
        rectified_moments(mean, std, root @ root.T), drawn.T @ drawn / len(drawn), rtol=0.01, atol=0.003
    )


@pytest.mark.parametrize("form", CORRECT)
@settings(deadline=None, max_examples=10)
@given(factor=st.floats(0.2, 5), scale=st.floats(0.2, 5), data=st.data())
def test_multiples_are_merged_without_loss(cutting, form, factor, scale, data):
    of, other = data.draw(st.permutations(range(6)))[:2]
    model = network(nn.ReLU())
    make_multiple(model, other, of, factor, scale)
    context = cutting(model, IMAGES[:1], {"0": [channel for channel in range(6) if channel != other]})
    assert as_before(context) > 1e-3
    apply(context, form=form)
    assert as_before(context) < 1e-9


@pytest.mark.parametrize("form", CORRECT)
def test_several_copies_of_one_channel(cutting, form):
    model = network(nn.LeakyReLU(), nn.MaxPool2d(2))
    for channel in (1, 2, 5):
        make_multiple(model, channel, 0, 1.0, 1.0)
    context = cutting(model, IMAGES[:1], {"0": [0, 3, 4]})
    apply(context, form=form)
    assert as_before(context) < 1e-9


def test_the_released_rule_does_not_reproduce_multiples(cutting):
    model = network(nn.ReLU())
    make_multiple(model, 1, 0, 2.0, 3.0)
    context = cutting(model, IMAGES[:1], {"0": [0, 2, 3, 4, 5]})
    apply(context, form="released")
    assert as_before(context) > 0.01


@pytest.mark.parametrize("form", CORRECT)
def test_a_negative_multiple_is_only_cut(cutting, form):
    model = network(nn.ReLU())
    make_multiple(model, 1, 0, -2.0, -3.0)
    context = cutting(model, IMAGES[:1], {"0": [0]})
    for channel in range(2, 6):
        model[0].weight.data[channel] = 0  # like nothing at all
        model[0].bias.data[channel] = -9
    before = copy.deepcopy(context.model)
    facts = apply(context, form=form, threshold=0.6)
    assert facts["channels_merged"] == 0 and same_weights(context.model, before)


@pytest.mark.parametrize("form", FORMS)
def test_above_a_cosine_of_one_nothing_is_merged(cutting, form):
    context = cutting(network(nn.ReLU()), IMAGES[:1], {"0": [1, 3, 4]})
    before = copy.deepcopy(context.model)
    facts = apply(context, form=form, threshold=1.5)
    assert facts["channels_merged"] == 0 and facts["groups"] == 1 and same_weights(context.model, before)


@pytest.mark.parametrize("form", FORMS)
def test_where_all_stay_nothing_changes(cutting, form):
    context = cutting(network(nn.ReLU()), IMAGES[:1], {"0": range(6)})
    assert apply(context, form=form)["channels_removed"] == 0
    assert same_weights(context.model, context.original)


@pytest.mark.parametrize("form", FORMS)
def test_one_channel_stays_and_weights_of_zero(cutting, form):
    model = network(nn.ReLU())
    model[0].weight.data[:3] = 0
    model[0].bias.data[:3] = 0
    dead = copy.deepcopy(model)
    dead[1].weight.data[:], dead[1].bias.data[:] = 0, -1  # nothing passes the ReLU
    for network_, keep in itertools.product((model, dead), ([0], [5], [0, 5])):
        context = cutting(network_, IMAGES[:1], {"0": keep})
        apply(context, form=form)
        assert all(tensor.isfinite().all() for tensor in context.model.state_dict().values())


def test_moments_is_the_regression_on_what_is_read(cutting):
    """With white inputs and statistics that fit, the removed channel is made up for as well as by least squares."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 6, bias=False), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 1, bias=False))
    model = model.double().eval()
    inputs = torch.randn(200_000, 20, generator=torch.Generator().manual_seed(2)).double()
    with torch.no_grad():
        model[0].weight[:, 6:] *= 0.2  # filters that are alike
        model[1].bias.uniform_(-0.5, 0.5)
        model[1].running_mean.copy_(model[0](inputs).mean(0))
        model[1].running_var.copy_(model[0](inputs).var(0))
        model[3].weight.copy_(torch.eye(6)[5:])  # reads the channel that will be gone
        maps = model[:3](inputs)
    context = cutting(model, inputs[:1], {"0": range(5)})
    apply(context, form="moments", ridge=1e-9, threshold=-1.0)
    expected = torch.linalg.lstsq(maps[:, :5], maps[:, 5:]).solution.T
    torch.testing.assert_close(context.model[3].weight.detach(), expected, rtol=0.02, atol=0.02)


class Residual(nn.Module):
    """Two producers of one stream, and two layers that read it."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 6, 1)
        self.left, self.right = nn.Conv2d(6, 2, 1), nn.Conv2d(6, 2, 3)

    def forward(self, x):
        x = functional.relu(self.first(x) + self.second(x))
        return self.left(x).mean((2, 3)) + self.right(x).mean((2, 3))


@pytest.mark.parametrize("form", ["folded", "many", "moments"])
def test_coupled_groups_only_if_asked_for(cutting, listener, form):
    model = Residual().double()
    for layer in (model.first, model.second):
        layer.weight.data[4], layer.bias.data[4] = 3 * layer.weight.data[1], 3 * layer.bias.data[1]
    context = cutting(model, IMAGES[:1], {"first": [0, 1, 2, 3, 5]})
    before = copy.deepcopy(context.model)
    facts = apply(context, listener, form=form)
    assert facts["groups_only_cut"] == 1 and "first: several layers" in facts["only_cut_1"]
    assert "first" in listener.notes[0] and same_weights(context.model, before)
    apply(context, form=form, coupled=True)
    assert as_before(context) < 1e-9  # both readers


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("form", CORRECT)
def test_a_channel_is_several_positions_behind_a_flattening(cutting, norm, form):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6) if norm else nn.ReLU(), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Dropout(0.5), nn.Linear(24, 5),
    ).double()  # fmt: skip
    make_multiple(model, 3, 0, 1.7, 0.6)
    context = cutting(model, IMAGES[:1], {"0": [0, 1, 2, 4, 5]})
    apply(context, form=form)
    assert as_before(context) < 1e-9


@pytest.mark.parametrize("form", CORRECT)
def test_other_layers(cutting, form):
    signals = torch.randn(3, 3, 9, generator=torch.Generator().manual_seed(1)).double()
    model = nn.Sequential(nn.Conv1d(3, 6, 3), nn.ReLU(), nn.ConvTranspose1d(6, 4, 2, stride=2)).double()
    make_multiple(model, 5, 2, 0.3)
    context = cutting(model, signals[:1], {"0": [0, 1, 2, 3, 4]})
    apply(context, form=form)
    assert as_before(context, signals) < 1e-9


@pytest.mark.parametrize("form", CORRECT)
def test_a_grouped_consumer(cutting, form):
    model = network(nn.ReLU(), groups=2)  # channel i is positions i and i + 3
    for block in (0, 3):
        make_multiple(model, block + 2, block, 2.0, 0.7)
    context = cutting(model, IMAGES[:1], {"0": [0, 1]})
    apply(context, form=form)
    assert as_before(context) < 1e-9


def test_groups_one_behind_the_other(cutting):
    """The layer in the middle reads merged channels and makes others."""
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 3)).double()
    make_multiple(model, 1, 0, 2.0)
    make_multiple(model[2:], 5, 3, 0.5)
    context = cutting(model, IMAGES[:1], {"0": [0, 2, 3, 4, 5], "2": [0, 1, 2, 3, 4]})
    assert apply(context)["groups"] == 2
    assert as_before(context) < 1e-9


class TwoSources(nn.Module):
    """A concatenation of two branches, which one layer reads."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.reader = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Conv2d(8, 2, 3)

    def forward(self, x):
        return self.reader(functional.relu(torch.cat([self.a(x), self.b(x)], 1)))


def test_two_groups_that_one_layer_reads(cutting):
    model = TwoSources().double()
    for layer in (model.a, model.b):
        layer.weight.data[2], layer.bias.data[2] = 2 * layer.weight.data[0], 2 * layer.bias.data[0]
    context = cutting(model, IMAGES[:1], {"a": [0, 1, 3], "b": [0, 1, 3]})
    apply(context)
    assert as_before(context) < 1e-9


class Affine(nn.Module):
    """A reader that is no module."""

    def __init__(self):
        super().__init__()
        self.conv, self.weight = nn.Conv2d(3, 6, 3), nn.Parameter(torch.randn(2, 6, 1, 1))

    def forward(self, x):
        return functional.conv2d(functional.relu(self.conv(x)), self.weight)


def test_a_bare_weight_is_merged_too(cutting):
    model = Affine().double()
    model.conv.weight.data[5], model.conv.bias.data[5] = 2 * model.conv.weight.data[0], 2 * model.conv.bias.data[0]
    context = cutting(model, IMAGES[:1], {"conv": [0, 1, 2, 3, 4]})
    apply(context)
    assert as_before(context) < 1e-9


@pytest.mark.parametrize(
    "between",
    [nn.SiLU(), nn.GELU(), nn.Sigmoid(), nn.Conv2d(6, 6, 3, groups=6), nn.GroupNorm(1, 6), nn.ReLU6()],
    ids=str,
)
def test_where_merging_cannot_be_exact_it_is_only_cut(cutting, listener, between):
    model = network(between)
    model[1].weight.data *= 20  # beyond the bound of ReLU6
    context = cutting(model, IMAGES[:1], {"0": [0, 1, 2, 3]})
    before = copy.deepcopy(context.model)
    facts = apply(context, listener)
    assert facts["groups"] == 0 and facts["groups_only_cut"] == 1 and facts["channels_merged"] == 0
    assert facts["only_cut_1"].startswith("0: even a copy")
    assert same_weights(context.model, before) and any("least_squares" in note for note in listener.notes)


def test_example_inputs_that_hide_it_do_not_help(cutting):
    model = nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.SiLU(), nn.Conv2d(6, 2, 3)).double()
    assert apply(cutting(model, torch.zeros_like(IMAGES[:1]), {"0": [0, 1]}))["groups"] == 0


def test_outputs_that_hardly_show_it_do_not_help(cutting):
    context = cutting(network(nn.SiLU()), IMAGES[:1], {"0": [0, 1]})
    context.original[3].weight.data *= 1e-11
    assert apply(context)["groups"] == 0


def test_outputs_that_do_not_show_it_at_all_do_not_help(cutting):
    context = cutting(network(nn.SiLU()), IMAGES[:1], {"0": [0, 1]})
    context.original[3].weight.data.zero_()  # as the heads of some models are made
    assert apply(context)["groups"] == 0


class Sensitive(nn.Module):
    """Shows what was rounded at the sixteenth digit in the eleventh."""

    def __init__(self):
        super().__init__()
        self.conv, self.reader = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 2, 3)

    def forward(self, x):
        return torch.sin(1e5 * self.reader(functional.relu(self.conv(x))))


def test_rounding_does_not_hinder(cutting):
    assert apply(cutting(Sensitive().double(), IMAGES[:1], {"conv": [0, 1]}))["groups"] == 1


class Shared(nn.Module):
    """Two readers of one weight."""

    def __init__(self):
        super().__init__()
        self.conv, self.reader = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 2, 1)
        self.other = nn.Conv2d(6, 2, 1)
        self.other.weight = self.reader.weight

    def forward(self, x):
        x = functional.relu(self.conv(x))
        return self.reader(x).mean((2, 3)) + self.other(functional.max_pool2d(x, 2)).mean((2, 3))


def test_a_shared_weight_is_merged_once(cutting):
    model = Shared().double()
    model.conv.weight.data[5], model.conv.bias.data[5] = 2 * model.conv.weight.data[0], 2 * model.conv.bias.data[0]
    context = cutting(model, IMAGES[:1], {"conv": [0, 1, 2, 3, 4]})
    assert apply(context)["groups"] == 1
    assert as_before(context) < 1e-9


def test_one_group_that_cannot_does_not_hinder_the_other(cutting):
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.SiLU(), nn.Conv2d(6, 2, 3)).double()
    context = cutting(model, IMAGES[:1], {"0": [0, 2, 3], "2": [0, 1, 2, 3, 4]})
    facts = apply(context)
    assert facts["groups"] == 1 and facts["only_cut_1"].startswith("2: ")


def test_a_norm_without_scale_and_shift_is_only_cut(cutting):
    model = network(nn.ReLU())
    model[1] = nn.BatchNorm2d(6, affine=False).double()
    assert "no scale and shift" in apply(cutting(model, IMAGES[:1], {"0": [0, 1]}))["only_cut_1"]


def test_it_is_computed_from_the_original(cutting):
    """A second time gives the same; the original and the other layers stay as they are."""
    context = cutting(network(nn.ReLU()), IMAGES[:1], {"0": [0, 1, 2]})
    whole, cut = copy.deepcopy(context.original), copy.deepcopy(context.model)
    apply(context)
    once = copy.deepcopy(context.model)
    apply(context)
    assert same_weights(context.model, once) and same_weights(context.original, whole)
    changed = [name for name, tensor in cut.state_dict().items() if not torch.equal(tensor, once.state_dict()[name])]
    assert changed == ["3.weight"]


def test_weights_that_are_no_numbers(cutting):
    context = cutting(network(nn.ReLU()), IMAGES[:1], {"0": [0, 1, 2]})
    context.original[0].weight.data[4, 0, 0, 0] = float("nan")
    with pytest.raises(UnsupportedModel, match=r"0\.weight: weights must be finite"):
        apply(context)


def test_without_a_plan_it_says_so(listener):
    model = network(nn.ReLU())
    assert "skipped" in apply(RecoveryContext(copy.deepcopy(model), model), listener)
    assert "not known what was cut" in listener.notes[0]


@pytest.mark.parametrize(
    ("option", "value"), [("form", "paper"), ("threshold", float("nan")), ("lam", 1.1), ("ridge", 0.0)]
)
def test_options_out_of_range(option, value):
    with pytest.raises(InvalidOption, match=f"`{option}`"):
        NeuronMerging(**{option: value})


def blocks(*activations):
    """Pairs of layers with an activation between them, whose groups are all made of the same kinds of layers."""
    torch.manual_seed(0)
    layers = [layer for each in activations for layer in (nn.Linear(8, 16), each, nn.Linear(16, 8))]
    return nn.Sequential(*layers).double()


@pytest.mark.parametrize(
    ("activations", "n_merged", "n_tries"),
    [
        ([nn.ReLU()] * 7, 7, 1),
        ([nn.GELU()] * 7, 0, 1 + 3),  # all at once, and three of the kind
        ([nn.ReLU()] * 2 + [nn.GELU()] * 5, 2, 1 + 7),  # the first passes, so each is tried
        ([nn.GELU()] * 5 + [nn.ReLU()] * 2, 2, 1 + 7),
        ([nn.ReLU(), nn.GELU()], 1, 1 + 2),
    ],
)
def test_of_many_groups_of_a_kind_few_are_tried(cutting, monkeypatch, activations, n_merged, n_tries):
    tries = []
    exact = CopyTest._exact
    monkeypatch.setattr(CopyTest, "_exact", lambda self, cuts: tries.append(len(cuts)) or exact(self, cuts))
    kept = {str(3 * i): list(range(8)) for i in range(len(activations))}
    x = torch.randn(16, 8, generator=torch.Generator().manual_seed(0)).double()
    facts = apply(cutting(blocks(*activations), x, kept))
    assert facts["groups"] == n_merged and len(tries) == n_tries
