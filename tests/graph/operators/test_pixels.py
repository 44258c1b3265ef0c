"""Channels that become pixels and the other way round; windows and diagonals."""

import pytest
import torch
from torch.nn import functional

from tests.graph.operators.cases import Images, Tokens, cut_and_silenced, make, named, why_blocked

# operator, between, width of what is read, channels that may leave
IMAGES = [
    ("pixel_shuffle", lambda m, x: functional.pixel_shuffle(x, 2), 2, 2),
    ("pixel_unshuffle", lambda m, x: functional.pixel_unshuffle(x, 2), 32, 8),
    ("channel_shuffle", lambda m, x: functional.channel_shuffle(x, 2), 8, 4),
    ("native_channel_shuffle", lambda m, x: torch.native_channel_shuffle(x, 2), 8, 4),
    ("im2col", lambda m, x: functional.unfold(x, 2).unsqueeze(3), 32, 8),
    # (2, 8, 24): four channels of 1 x 2 pixels at 24 places
    ("col2im", lambda m, x: functional.fold(x.flatten(2), (4, 12), (1, 2), stride=(1, 2)), 4, 4),
    ("unfold", lambda m, x: x.unfold(2, 2, 1).mean(-1), 8, 8),
    ("diagonal", lambda m, x: x.diagonal(dim1=2, dim2=3).unsqueeze(3), 8, 8),
]


@pytest.mark.parametrize(("operator", "between", "out", "n_channels"), IMAGES, ids=named(IMAGES))
def test_channels_go_with_their_pixels(operator, between, out, n_channels):
    assert cut_and_silenced(make(Images, between, out=out), f"aten.{operator}") == {"stem": n_channels, "read": 7}


def one_row(x):
    """(2, 5, 8) -> (2, 5, 4, 8): channels in the place of columns."""
    return x.unsqueeze(2).expand(-1, -1, 4, -1)


IMAGE = "it is used as rows or columns of an image"
FROZEN = [
    ("pixel_shuffle", lambda m, x: functional.pixel_shuffle(x[:, :4, None], 2), 16, IMAGE),
    ("pixel_unshuffle", lambda m, x: functional.pixel_unshuffle(one_row(x), 2), 4, IMAGE),
    ("im2col", lambda m, x: functional.unfold(one_row(x), 2), 21, IMAGE),
    ("col2im", lambda m, x: functional.fold(x[:, :4], (3, 5), 2), 5, IMAGE),
    ("unfold", lambda m, x: x.unfold(2, 2, 1).mean(-1), 7, "it is read in sliding windows"),
    ("diagonal", lambda m, x: one_row(x).flatten(1, 2)[:, :8].diagonal(dim1=1, dim2=2), 8, "its diagonal is read"),
]


@pytest.mark.parametrize(("operator", "between", "out", "what"), FROZEN, ids=named(FROZEN))
def test_an_axis_in_the_place_of_pixels_stays(operator, between, out, what):
    reason = why_blocked(make(Tokens, between, out=out))
    assert what in reason and f"(aten.{operator} at operators/test_pixels.py:" in reason
