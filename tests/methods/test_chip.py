import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compressor.core.errors import DataError, InvalidOption
from compressor.core.groups import Role
from compressor.core.protocols import MethodContext
from compressor.methods import chip
from compressor.methods.chip import ChannelIndependence, mean_losses, nuclear_norm_losses


def rows(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def test_worked_by_hand():
    # Orthogonal rows of lengths 3, 4, 0: the singular values are the lengths. The third row repeats the first, so that
    # together they have one of 3 sqrt(2).
    alone = torch.tensor([[3.0, 0, 0, 0], [0, 4, 0, 0], [0, 0, 0, 0]])
    assert nuclear_norm_losses(alone).tolist() == pytest.approx([3, 4, 0])
    repeated = torch.tensor([[3.0, 0, 0, 0], [0, 4, 0, 0], [3, 0, 0, 0]])
    assert nuclear_norm_losses(repeated).tolist() == pytest.approx([3 * 2**0.5 - 3, 4, 3 * 2**0.5 - 3])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 9), st.integers(1, 9))
def test_against_the_definition(seed, n, size):
    """A second computation: singular values of the matrix itself, with the row set to zero."""
    matrix = rows(seed, n, size)
    whole = torch.linalg.svdvals(matrix).sum()
    expected = []
    for i in range(n):
        masked = matrix.clone()
        masked[i] = 0
        expected.append(float(whole - torch.linalg.svdvals(masked).sum()))
    assert nuclear_norm_losses(matrix).tolist() == pytest.approx(expected, abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(2, 9), st.integers(1, 9), st.sampled_from([0.25, 8.0]))
def test_never_negative_and_in_the_maps_unit(seed, n, size, scale):
    matrix = rows(seed, n, size)
    matrix[1] = 0
    losses = nuclear_norm_losses(matrix)
    assert losses.min() > -1e-6 and losses[1].abs() < 1e-6
    torch.testing.assert_close(nuclear_norm_losses(matrix * scale), losses * scale, rtol=1e-5, atol=1e-5)


def test_in_pieces_as_at_once(monkeypatch):
    matrices = rows(0, 6, 4), rows(0, 4, 6)
    whole = [nuclear_norm_losses(matrix) for matrix in matrices]
    monkeypatch.setattr(chip, "CHUNK", 20)
    assert all(torch.allclose(nuclear_norm_losses(m), w) for m, w in zip(matrices, whole, strict=True))


def test_images_are_averaged():
    maps = rows(3, 2, 4, 3, 3)
    expected = (nuclear_norm_losses(maps[0].flatten(1)) + nuclear_norm_losses(maps[1].flatten(1))) / 2
    assert torch.allclose(mean_losses(maps), expected)


def test_of_two_equal_channels_neither_is_missed(hand):
    model = nn.Sequential(nn.Conv2d(2, 3, 1, bias=False), nn.ReLU(), nn.Conv2d(3, 1, 1))
    model[0].weight.data = torch.tensor([[1.0, 0], [1, 0], [0, 1]]).reshape(3, 2, 1, 1)
    reader = hand.member(model, "2", Role.CONSUMER, axis=1, tensors=("weight",))
    group = hand.group(hand.producer(model, "0"), reader)
    images = torch.rand(4, 2, 5, 5)
    found = ChannelIndependence().scores([group], MethodContext(model, batches=[images]))["0"].tolist()
    assert found[0] == pytest.approx(found[1], rel=1e-5) and found[2] > 1.5 * found[0]


def test_options_and_missing_images():
    with pytest.raises(InvalidOption, match="n_images"):
        ChannelIndependence(n_images=0)
    with pytest.raises(DataError, match="chip: images are needed"):
        ChannelIndependence().scores([], MethodContext(nn.Conv2d(1, 1, 1)))
