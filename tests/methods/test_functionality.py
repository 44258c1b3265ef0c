import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compressor.core.errors import DataError, InvalidOption, UnsupportedModel
from compressor.core.groups import Role
from compressor.core.protocols import MethodContext
from compressor.methods._sightings import look, watching
from compressor.methods.functionality import Functionality, _contributions, _images, ranked, spectra

IMAGES = torch.randn(6, 2, 6, 6, generator=torch.Generator().manual_seed(5))


class Net(nn.Module):
    """Channels that a convolution and, added up, a linear layer read."""

    def __init__(self, filters, head=None):
        super().__init__()
        n = len(filters)
        self.make = nn.Conv2d(filters.shape[1], n, filters.shape[2:], bias=False)
        self.read = nn.Conv2d(n, 3, 1)
        self.make.weight.data = filters
        self.n_ends = 0
        if head is not None:
            self.read = nn.Conv2d(n, len(head), 1, bias=False)
            self.read.weight.data = head[:, :, None, None]

    def forward(self, x):
        y = self.read(self.make(x).relu()).mean((2, 3))
        self.n_ends += 1
        return y


def group_of(hand, model):
    reads = hand.member(model, "read", Role.CONSUMER, axis=1, tensors=("weight",))
    return hand.group(hand.producer(model, "make"), reads)


def filters(seed, n, colours=2, size=3):
    return torch.randn(n, colours, size, size, generator=torch.Generator().manual_seed(seed))


def selected(hand, model, n_keep, seed=0, images=IMAGES, **options):
    context = MethodContext(model, seed, [images])
    return Functionality(**options).select(group_of(hand, model), n_keep, context)


def patterns(hand, model, seed=0, **options):
    generator = np.random.default_rng(seed)
    return Functionality(**options)._patterns(MethodContext(model), group_of(hand, model), IMAGES, generator)


def contributions(hand, model, images=IMAGES):
    return _contributions(MethodContext(model), group_of(hand, model), [images])


def test_contributions_worked_by_hand(hand):
    # Channels 2x, -x and 0 on one pixel x = 1: after the ReLU 2, 0, 0. Outputs 5 * 2 and -1 * 2: the first is the
    # largest, and it changes by 5 for each unit of channel 0. Channels 1 and 2 are zero, so they contribute nothing. On
    # x = -1 they are 0, 1, 0, the outputs 7 and 8, and the second changes by 8 for channel 1. The means are 2.5 and 4.
    model = Net(torch.tensor([2.0, -1.0, 0.0]).reshape(3, 1, 1, 1), torch.tensor([[5.0, 7.0, 9.0], [-1.0, 8.0, 9.0]]))
    assert contributions(hand, model, torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)).tolist() == [2.5, 4.0, 0.0]


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000))
def test_contributions_against_small_changes(hand, seed):
    """The derivative of the largest output by every position of every channel, one after the other."""
    model = Net(filters(seed, 4)).double()
    images = IMAGES[:2].double()
    hidden = model.make(images).relu().detach()  # (2, 4, 4, 4)
    expected = torch.zeros(4).double()
    for image, channel, row, column in itertools.product(range(2), range(4), range(4), range(4)):
        if hidden[image, channel, row, column] > 0:
            moved = hidden[image].clone()
            moved[channel, row, column] += 1e-6
            before, after = (model.read(h[None]).mean((2, 3)) for h in (hidden[image], moved))
            expected[channel] += float((after.amax() - before.amax()).detach().abs() / 1e-6) / 16 / 2
    assert contributions(hand, model, images) == pytest.approx(expected.numpy(), rel=1e-4)


def test_contributions_are_means_whatever_the_batches(hand):
    model = Net(filters(0, 4))
    together = contributions(hand, model)
    apart = _contributions(MethodContext(model), group_of(hand, model), [IMAGES[:1], IMAGES[1:]])
    assert apart == pytest.approx(together)


class Linear(Net):
    """Without the activation the slope of a channel is the same everywhere."""

    def forward(self, x):
        return self.read(self.make(x)).mean((2, 3))


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000), st.integers(1, 40), st.integers(1, 6))
def test_patterns_of_linear_filters_are_known(hand, seed, n, steps):
    """The mean over positions of a convolution is the image times the filter, laid on every position and added up."""
    model = Linear(filters(seed, n))
    slope = torch.zeros(n, 2, 6, 6)
    for row, column in itertools.product(range(4), range(4)):
        slope[:, :, row : row + 3, column : column + 3] += model.make.weight.detach() / 16
    noise = torch.from_numpy(np.random.default_rng(seed).standard_normal((1, 2, 6, 6))).float()
    mean, sigma = IMAGES.mean((0, 2, 3), keepdim=True), IMAGES.std((0, 2, 3), keepdim=True)
    direction = slope / slope.square().mean((1, 2, 3), keepdim=True).sqrt()
    start = mean + sigma * noise.clamp(-3, 3)
    end = (start + steps * 0.4 * sigma * direction).clamp(mean - 3 * sigma, mean + 3 * sigma)
    assert torch.allclose(patterns(hand, model, seed, steps=steps, step_size=0.4), end - start, atol=1e-4)


def test_a_pattern_excites_its_own_channel(hand):
    model = Net(filters(1, 6))
    start = IMAGES.mean((0, 2, 3), keepdim=True)
    added = patterns(hand, model)
    active = model.make(start + added).relu().mean((2, 3))  # (6 patterns, 6 channels)
    assert (active.diagonal() > active.mean(0)).all()


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000), st.integers(-8, 8))
def test_scaled_copies_have_the_pattern_of_the_original(hand, seed, power):
    weight = filters(seed, 3)
    added = patterns(hand, Net(torch.cat([weight, weight * 2.0**power])))
    assert torch.allclose(added[:3], added[3:], atol=1e-4)


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 1000))
def test_of_copies_the_one_that_contributes_more_stays(hand, seed):
    head = torch.cat([torch.full((3, 6), 0.1), torch.full((3, 6), 0.2)], 1)
    head[0] *= 2
    model = Net(filters(seed, 6).repeat(2, 1, 1, 1), head)
    assert selected(hand, model, 6, clusters=1.0) == [6, 7, 8, 9, 10, 11]


def test_a_channel_of_zeros_leaves_first(hand):
    weight = filters(0, 6)
    weight[2] = 0
    model = Net(weight, torch.full((3, 6), 1.0))
    for n_keep in (1, 3, 5):
        assert 2 not in selected(hand, model, n_keep, clusters=1.0)
    assert not patterns(hand, model)[2].any()
    assert len(selected(hand, Net(torch.zeros(4, 2, 3, 3)), 2)) == 2


def test_a_pattern_or_a_contribution_is_enough_for_a_cluster(hand):
    weight = filters(0, 2)
    model = Net(torch.cat([weight[:1].repeat(3, 1, 1, 1), weight[1:]]), torch.tensor([[1.0, 1.0, 1.0, 0.0]]))
    assert 3 in selected(hand, model, 2, clusters=1.0), "it contributes nothing, but nothing else has its pattern"
    model = Net(torch.cat([weight[:1].repeat(3, 1, 1, 1), torch.zeros(1, 2, 3, 3)]), torch.tensor([[1.0, 1, 1, 0.1]]))
    model.make.bias = nn.Parameter(torch.tensor([0.0, 0.0, 0.0, 1.0]))
    assert 3 in selected(hand, model, 2, clusters=1.0), "always 1: without a pattern, but not without contribution"


def test_any_share_of_clusters_works_on_copies(hand):
    model = Net(filters(0, 1).repeat(5, 1, 1, 1))
    for clusters, n_keep in ((1.0, 4), (0.01, 1), (0.5, 3)):
        assert len(selected(hand, model, n_keep, clusters=clusters)) == n_keep


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(-4, 4), st.integers(-4, 4), st.floats(0.1, 10))
def test_features_do_not_change_when_the_image_is_moved_or_scaled(seed, down, right, scale):
    image = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    found = spectra(torch.cat([image, scale * image.roll((down, right), (2, 3)), image.flip(0) ** 2]))
    assert found[1] == pytest.approx(found[0], abs=2e-6) and np.linalg.norm(found[0]) == pytest.approx(1, abs=1e-4)
    assert np.abs(found[2] - found[0]).max() > 1e-3
    assert not spectra(torch.zeros(1, 3, 8, 8)).any()


@settings(deadline=None, max_examples=60)
@given(st.data(), st.integers(1, 24))
def test_every_cluster_loses_its_lowest_contributions_and_about_the_same_share(data, n):
    labels = np.array(data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)))
    values = np.array(data.draw(st.permutations(range(n))), dtype=float)
    order = ranked(labels, values)
    assert sorted(order) == list(range(n))
    names = set(labels.tolist())
    for n_keep in range(1, n + 1):
        kept = order[:n_keep]
        for label in names:
            members = sorted(np.flatnonzero(labels == label).tolist(), key=lambda c: -values[c])
            of_it = [c for c in kept if labels[c] == label]
            assert set(of_it) == set(members[: len(of_it)])
            if n_keep >= len(names):
                assert of_it
            if n_keep >= 2 * len(names):
                assert abs(len(of_it) / len(members) - n_keep / n) <= len(names) / len(members)


def test_ranked_by_hand():
    # Cluster 0 has four members, cluster 1 two. Its best, 3, stands for more than 4 does. Then it goes by the place
    # among the members: 1.5/4, 2.5/4, 1.5/2, 3.5/4.
    labels, values = np.array([0, 0, 0, 0, 1, 1]), np.array([1.0, 2.0, 3.0, 4.0, 9.0, 8.0])
    assert ranked(labels, values) == [3, 4, 2, 1, 5, 0]


def test_passes_for_patterns_end_at_the_last_reader_and_the_others_do_not(hand):
    model = Net(filters(0, 4))
    patterns(hand, model)
    assert model.n_ends == 0
    contributions(hand, model)
    assert model.n_ends == 1


class Stream(nn.Module):
    """Two convolutions read the stream, the second after something was added to it; a linear layer its pixels."""

    def __init__(self):
        super().__init__()
        self.make, self.first, self.second = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)
        self.head = nn.Linear(16, 2)

    def forward(self, x):
        x = self.make(x)
        x = x + self.first(x)
        return self.second(x).mean((2, 3)) + self.head(x.mean(3).flatten(1)[:, :16])


def test_a_stream_is_seen_wherever_it_is_read(hand):
    model = Stream()
    readers = [hand.member(model, name, Role.CONSUMER, axis=1, tensors=("weight",)) for name in ("first", "second")]
    pixels = hand.member(
        model, "head", Role.CONSUMER, range(16), [i // 4 for i in range(16)], axis=1, tensors=("weight",)
    )
    group = hand.group(hand.producer(model, "make"), hand.producer(model, "first"), *readers, pixels)
    images = IMAGES[:, :, :4, :4].clone()
    with torch.no_grad():
        a = model.make(images)
        b = a + model.first(a)
        total = a.mean((2, 3)) + b.mean((2, 3)) + 4 * b.mean((2, 3))  # the head reads four positions of a channel
    with watching("functionality", model, group, to_the_end=False) as sightings:
        for _ in range(2):
            look("functionality", model, group, sightings, images)
            assert len(sightings.found) == 3
        assert torch.allclose(sightings.activity(), total / 6, atol=1e-6)
    assert len(Functionality(steps=2).select(group, 2, MethodContext(model, 0, [images]))) == 2


class Tokens(nn.Module):
    """The channels are on the last axis; the model writes to its input."""

    def __init__(self):
        super().__init__()
        self.make, self.read = nn.Linear(12, 5), nn.Linear(5, 3)

    def forward(self, x):
        x -= 0.1
        return self.read(self.make(x.flatten(1).unflatten(1, (6, 12))).relu()).mean(1)


def test_linear_layers_read_the_last_axis(hand):
    model = Tokens()
    tokens = (IMAGES - 0.1).flatten(1).unflatten(1, (6, 12))
    with watching("functionality", model, group_of(hand, model), to_the_end=False) as sightings:
        look("functionality", model, group_of(hand, model), sightings, IMAGES)
        assert torch.allclose(sightings.activity(), model.make(tokens).relu().mean(1), atol=1e-6)
    before = IMAGES.clone()
    assert len(selected(hand, model, 2, steps=2)) == 2 and torch.equal(IMAGES, before)


def test_channels_that_nobody_reads_are_seen_where_they_are_made(hand):
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    group = hand.group(hand.producer(model, "0"))
    assert len(Functionality(steps=2).select(group, 2, MethodContext(model, 0, [IMAGES]))) == 2


def test_channels_that_no_layer_shows_are_refused(hand):
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten())
    model.unused = nn.Linear(4, 2)
    only_norm = hand.group(hand.channelwise(model, "1"))
    with pytest.raises(UnsupportedModel, match=r"must read or make the channels of 1, but none does.*--ignore 1"):
        Functionality().select(only_norm, 2, MethodContext(model, 0, [IMAGES]))
    model.forward = lambda x: model[0](x).flatten(1)
    uncalled = hand.group(hand.member(model, "unused", Role.CONSUMER, axis=1, tensors=("weight",)))
    with pytest.raises(UnsupportedModel, match=r"must be called to show the channels of unused.*--ignore unused"):
        Functionality().select(uncalled, 2, MethodContext(model, 0, [IMAGES]))


def test_images(hand):
    context = MethodContext(Net(filters(0, 4)), 0, [(IMAGES, torch.zeros(6)), (IMAGES, torch.zeros(6))])
    assert [len(batch) for batch in _images(context, 8)] == [6, 2]
    for batches, words in (
        (None, "images are needed"),
        ([], "the data holds none"),
        ([IMAGES.int()], "floating point"),
    ):
        with pytest.raises(DataError, match=words):
            _images(MethodContext(context.model, 0, batches), 8)


def test_bad_input(hand):
    for option, value in (
        ("steps", 0),
        ("step_size", 0.0),
        ("clusters", 0.0),
        ("clusters", 1.5),
        ("n_images", 0),
        ("most_work", 0),
    ):
        with pytest.raises(InvalidOption, match=f"`{option}`"):
            Functionality(**{option: value})
    for n_keep in (0, 5):
        with pytest.raises(InvalidOption, match="from 1 to 4"):
            selected(hand, Net(filters(0, 4)), n_keep)
    with pytest.raises(InvalidOption, match="pruning_ratio"):
        Functionality().ratios([], MethodContext(nn.Identity()), 1.0)


def test_a_model_that_would_take_days_is_refused(hand):
    # Two layers with 4 and 3 outputs; 4 * 18 * 16 + 3 * 4 * 16 multiply-accumulates an image, and twenty steps.
    work = 20 * 7 * (4 * 18 * 16 + 3 * 4 * 16) / 1e12
    model = Net(filters(0, 4))
    assert len(selected(hand, model, 2, most_work=1.01 * work)) == 2
    with pytest.raises(UnsupportedModel, match=r"functionality: to seek a pattern .* most_work=inf"):
        selected(hand, model, 2, most_work=0.99 * work)
