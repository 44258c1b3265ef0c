import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compressor.core.errors import DataError, InvalidOption
from compressor.core.groups import Role
from compressor.core.protocols import MethodContext
from compressor.methods.hrank import HighRank, mean_ranks


def scored(model, groups, *batches, **options):
    return HighRank(**options).scores(groups, MethodContext(model, batches=batches))


def test_worked_by_hand():
    maps = torch.zeros(2, 3, 3, 3)
    maps[0, 1], maps[1, 1] = torch.eye(3), torch.ones(3, 3)  # ranks 3 and 1
    maps[:, 2] = torch.tensor([[1.0, 2, 3], [2, 4, 6], [0, 0, 1]])  # the second row is twice the first
    assert mean_ranks(maps).tolist() == [0.0, 2.0, 2.0]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 7), st.integers(1, 7), st.integers(-20, 20))
def test_the_rank_is_that_of_the_factors_and_no_scale_matters(seed, rank, height, width, power):
    generator = torch.Generator().manual_seed(seed)
    left, right = (
        torch.randn(4, 3, height, rank, generator=generator),
        torch.randn(4, 3, rank, width, generator=generator),
    )
    maps = left @ right * -(2.0**power)
    assert mean_ranks(maps).tolist() == [min(rank, height, width)] * 3


def test_rounding_is_no_information():
    flat = torch.outer(torch.linspace(1, 2, 16), torch.linspace(3, 5, 16))
    assert mean_ranks((flat + 1e-7 * torch.randn(16, 16))[None, None].double()).tolist() == [1.0]


class Layers(nn.Module):
    """The first channel's map is the image, the second's one number everywhere, the third's nothing after the ReLU."""

    def __init__(self):
        super().__init__()
        self.make, self.read, self.head = nn.Conv2d(1, 3, 1), nn.Conv2d(3, 2, 1), nn.Linear(2, 2)
        self.make.weight.data = torch.tensor([1.0, 0.0, 0.0]).reshape(3, 1, 1, 1)
        self.make.bias.data = torch.tensor([9.0, 1.0, -5.0])

    def forward(self, x):
        return self.head(self.read(self.make(x).relu()).mean((2, 3)))


def test_maps_are_taken_behind_the_activation_and_over_all_images(hand):
    model = Layers()
    read = hand.group(
        hand.producer(model, "make"), hand.member(model, "read", Role.CONSUMER, axis=1, tensors=("weight",))
    )
    last = hand.group(hand.producer(model, "read"))
    image, flat = torch.randn(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    found = scored(model, [read, last], (image, torch.zeros(1)), (flat, torch.zeros(1)))
    assert found["make"].tolist() == [2.5, 1.0, 0.0]  # ranks 4 and 1 of the first
    assert found["read"].shape == (2,), "no convolution reads it: seen where it is made"
    assert scored(model, [read], (torch.cat([image, flat]), None), n_images=1)["make"].tolist() == [4.0, 1.0, 0.0]


def test_channels_that_are_no_images_are_left_out(hand):
    model = Layers()
    assert scored(model, [hand.group(hand.producer(model, "head"))], torch.randn(2, 1, 4, 4)) == {}


def test_no_images():
    with pytest.raises(DataError, match=r"hrank: images are needed.*--data"):
        HighRank().scores([], MethodContext(Layers()))
    with pytest.raises(DataError, match="the data holds none"):
        scored(Layers(), [])
    with pytest.raises(InvalidOption, match="n_images"):
        HighRank(n_images=0)
