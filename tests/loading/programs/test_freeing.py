"""Files that were exported for one batch size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compressor.loading.model_file import load_model
from compressor.loading.programs.freeing import _axis_of_batch
from tests.loading.programs.networks import network


@pytest.mark.parametrize(
    ("sizes", "in_front", "span", "batch", "axis"),
    [
        ((1, 12, 197, 64), 1, 12, 1, 0),  # (batch*heads, L, dim) -> (batch, heads, L, dim)
        ((197, 12, 64), 197, 1, 1, 1),  # (L, batch, heads*dim) -> (L, batch*heads, dim)
        ((197, 768), 197, 1, 1, 0),  # (L, batch, heads, dim) -> (L*batch, heads*dim)
        ((197, 1, 768), 1, 197, 1, 1),  # (L*batch, dim) -> (L, batch, dim)
        ((196, 768), 1, 1, 1, 0),  # (batch, 196, 768) -> (batch*196, 768)
        ((4, 2, 8), 1, 8, 2, 1),  # (4*batch, 8) -> (4, batch, 8)
        ((8, 3), 1, 2, 2, 0),  # (batch, 4, 3) -> (batch*4, 3)
    ],
)
def test_where_the_batch_goes(sizes: tuple[int, ...], in_front: int, span: int, batch: int, axis: int) -> None:
    assert _axis_of_batch(sizes, in_front, span, batch) == axis


@pytest.mark.parametrize("name", ["patches", "shuffle", "flatten", "encoder", "words", "padded", "two_inputs"])
@pytest.mark.parametrize("form", ["pt2", "onnx", "dynamo"])
@pytest.mark.parametrize("batch", [1, 2])
def test_the_batch_is_freed(name: str, form: str, batch: int, write: Callable[..., Path]) -> None:
    if form == "dynamo" and name != "patches":
        pytest.skip("seconds each, and the same operators")
    module, inputs = network(name)
    inputs = tuple(tensor[:batch] for tensor in inputs)
    notes: list[str] = []
    loaded = load_model(write(form, module, inputs, dynamic=False), note=notes.append)
    assert not notes
    assert loaded.inputs.batch_size == batch and loaded.inputs.interface.dynamic_axes == ({},) * len(inputs)
    more = tuple(tensor[:1].repeat(5, *(1,) * (tensor.ndim - 1)) for tensor in inputs)
    with torch.no_grad():
        expected, found = module(*more), loaded.module(*more)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


class Flat(nn.Module):
    """Leaves an axis behind the batch open, which must not take the batch in."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x.reshape(20, 6))
        return x.reshape(1, 20, 2, -1).softmax(-1)


def test_open_axes_do_not_take_the_batch_in(write: Callable[..., Path]) -> None:
    notes: list[str] = []
    loaded = load_model(write("onnx", Flat(), (torch.randn(1, 20, 6),), dynamic=False), note=notes.append)
    assert not notes and loaded.module(torch.randn(3, 20, 6)).shape == (3, 20, 2, 2)


class Paired(nn.Module):
    """Its samples depend on each other, so that more of them make no sense."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.reshape(1, 8))


def test_a_batch_that_cannot_be_freed_stays(write: Callable[..., Path]) -> None:
    notes: list[str] = []
    loaded = load_model(write("pt2", Paired(), (torch.randn(2, 4),), dynamic=False), note=notes.append)
    assert len(notes) == 1 and "its batch stays fixed at 2" in notes[0]
    assert loaded.module(torch.randn(2, 4)).shape == (1, 3)
