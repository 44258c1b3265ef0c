from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compressor.loading.model_file import load_model
from compressor.loading.programs.shape_layers import Slice, Split


class Sliced(nn.Module):
    """Cuts an axis at the given places, one of the pieces twice."""

    def __init__(self, *pieces: tuple[int, int | None]) -> None:
        super().__init__()
        self.conv, self.pieces = nn.Conv2d(3, 8, 1), pieces

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        parts = [x[:, start:stop] * (index + 1) for index, (start, stop) in enumerate(self.pieces)]
        return torch.cat([*parts, x[:, self.pieces[0][0] : self.pieces[0][1]]], 1)


@pytest.mark.parametrize("form", ["pt2", "onnx"])
def test_pieces_that_fit_together_are_one_split(form: str, write: Callable[..., Path]) -> None:
    module, x = Sliced((0, 3), (3, 4), (4, None)), torch.randn(2, 3, 5, 5)
    loaded = load_model(write(form, module, (x,))).module
    splits = [part for part in loaded.modules() if isinstance(part, Split)]
    assert [split.sizes for split in splits] == [(3, 1, 4)]
    assert not [part for part in loaded.modules() if isinstance(part, Slice)]
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), module(x))


@pytest.mark.parametrize("pieces", [((0, 3), (4, None)), ((0, 4), (3, None)), ((0, 3), (3, 7))])
def test_pieces_with_gaps_or_overlaps_stay_slices(
    pieces: tuple[tuple[int, int | None], ...], write: Callable[..., Path]
) -> None:
    loaded = load_model(write("pt2", Sliced(*pieces), (torch.randn(2, 3, 5, 5),))).module
    assert not [part for part in loaded.modules() if isinstance(part, Split)]
    assert [part for part in loaded.modules() if isinstance(part, Slice)]
