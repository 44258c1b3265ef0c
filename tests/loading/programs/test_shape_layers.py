from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from compressor.loading.model_file import load_model
from compressor.loading.programs.shape_layers import (
    Arange,
    Chunk,
    Expand,
    Full,
    Pad,
    Reshape,
    Slice,
    Split,
    Stack,
    pieces,
)
from tests.loading.programs.conftest import shapes_of
from tests.loading.programs.networks import network


def test_layers_follow_their_attributes() -> None:
    x = torch.arange(24.0).reshape(2, 12)
    reshape = Reshape((-1, 3, 4))
    assert reshape(x).shape == (2, 3, 4)
    reshape.sizes = (-1, 2, 6)
    assert reshape(x).shape == (2, 2, 6)
    assert Reshape((-1, 4, -1))(x, 2, 3).shape == (2, 4, 3)
    assert Expand((-1, 5, -1))(x[:, None]).shape == (2, 5, 12)
    assert Expand((-1, 1, 12))(x[:1, None], 7).shape == (7, 1, 12)
    assert [piece.shape[1] for piece in Split((5, 7), 1)(x)] == [5, 7]
    assert [piece.shape[1] for piece in Chunk(4, 1)(x)] == [4, 4, 4]
    assert isinstance(pieces((4, 4), 1), Chunk)
    assert isinstance(pieces((4, 5), 1), Split)
    assert isinstance(pieces((-1, -1), 1), Split)  # known only at run time
    assert Slice(8, None, 2, 1)(x)[0].tolist() == [8, 10]
    assert Pad((1, 2), value=0.5)(x)[0, [0, -1]].tolist() == [0.5, 0.5]
    assert Full((-1, 3), 2.0, torch.float32)(x, 4).tolist() == [[2.0] * 3] * 4
    assert Arange(torch.int64)(x, 1, 6, 2).tolist() == [1, 3, 5]
    assert Stack(torch.int64)(x, 3, 1).tolist() == [3, 1]


def sizes_in(module: nn.Module) -> list[tuple[int, ...]]:
    return [part.sizes for part in module.modules() if isinstance(part, (Reshape, Expand, Split))]


@pytest.mark.parametrize("form", ["pt2", "core", "trace", "script", "onnx", "dynamo"])
def test_no_size_stands_in_the_code(form: str, write: Callable[..., Path]) -> None:
    """Halving the inner channels of a shuffle block is a matter of weights and attributes."""
    module, _ = network("shuffle")
    inputs = (torch.randn(2, 3, 20, 24),)  # halved, they are no numbers of channels
    loaded = load_model(write(form, module, inputs), inputs=shapes_of(inputs) if form in ("trace", "script") else ())
    small = loaded.module
    assert any(4 in sizes for sizes in sizes_in(small))
    assert not [part for part in small.modules() if isinstance(part, Split)]  # its pieces stay of one size
    with torch.no_grad():
        for part in small.modules():
            if isinstance(part, (nn.Conv2d, nn.Linear)):
                _halve(part)
            elif isinstance(part, (Reshape, Split)):
                part.sizes = tuple({8: 4, 4: 2}.get(size, size) for size in part.sizes)
            elif isinstance(part, Chunk):
                part.size //= 2
            elif isinstance(part, Slice):
                part.start, part.stop = part.start // 2, None if part.stop is None else part.stop // 2
        assert small(torch.randn(3, 3, 20, 24)).shape == (3, 5)


def _halve(layer: nn.Conv2d | nn.Linear) -> None:
    n_out = layer.weight.shape[0] // 2 if isinstance(layer, nn.Conv2d) else layer.weight.shape[0]
    n_in = layer.weight.shape[1] if layer.weight.shape[1] == 3 else layer.weight.shape[1] // 2
    layer.weight = nn.Parameter(layer.weight[:n_out, :n_in].clone())
    assert layer.bias is not None
    layer.bias = nn.Parameter(layer.bias[:n_out].clone())


@pytest.mark.parametrize("form", ["pt2", "onnx"])
def test_the_batch_is_no_constant(form: str, write: Callable[..., Path]) -> None:
    module, inputs = network("patches")
    loaded = load_model(write(form, module, inputs)).module
    reshapes = [part.sizes for part in loaded.modules() if isinstance(part, Reshape)]
    assert all(sizes.count(-1) == 1 for sizes in reshapes)
    assert any(sizes[-1] == 4 for sizes in reshapes)  # the heads' dimension


def test_padded_channels_are_an_attribute(write: Callable[..., Path]) -> None:
    for form in ("pt2", "onnx"):
        module, inputs = network("padded")
        loaded = load_model(write(form, module, inputs)).module
        (pad,) = (part for part in loaded.modules() if isinstance(part, Pad))
        assert pad.pads == (0, 0, 0, 0, 2, 2)
