"""Operators that carry sizes, as small layers, so that the sizes are attributes and not constants in code.

Whoever cuts channels changes these attributes and nothing else. The convention:

    sizes        tuple of whole numbers: of the output's axes (Reshape, Expand, Full) or of the pieces (Split)
    size         of every piece of a Chunk
    start, stop  of a Slice; stop is None where the slice goes on to the end, whatever the axis' length
    pads         of a Pad, in torch's order: the last axis first, (before, after) each
    _dim, _step  are no sizes, and bear names that say so
    -1           in `sizes`: not a constant. One alone means what it means to torch (Reshape: what remains; Expand: as
                 the input has it). If the layer is called with further numbers, there is one for each -1, in order.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def pieces(sizes: Sequence[int], dim: int) -> nn.Module:
    """The layer for pieces of these lengths. Pieces of one length are what `chunk` made in the model's source: they
    stay of one length, so that a file has the same groups of channels as the module that it was exported from."""
    equal = len(set(sizes)) == 1 and sizes[0] > 0
    return Chunk(sizes[0], dim) if equal else Split(sizes, dim)


def filled(sizes: Sequence[int], numbers: Sequence[int]) -> tuple[int, ...]:
    """`sizes` with its -1 replaced, in order, by the numbers known at run time; as it is where there are none.

    >>> filled((-1, 64, -1), (2, 7))
    (2, 64, 7)
    """
    if not numbers:
        return tuple(sizes)
    rest = iter(numbers)
    return tuple(next(rest) if size == -1 else size for size in sizes)


class Reshape(nn.Module):
    """Another shape for the same elements in the same order."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = tuple(sizes)

    def forward(self, x: Tensor, *numbers: int) -> Tensor:
        """Any shape -> `sizes`."""
        return x.reshape(filled(self.sizes, numbers))

    def extra_repr(self) -> str:
        """As it is printed."""
        return f"sizes={self.sizes}"


class Expand(nn.Module):
    """Repeats axes of length 1 without copying; -1 keeps an axis as the input has it."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = tuple(sizes)

    def forward(self, x: Tensor, *numbers: int) -> Tensor:
        """A shape that broadcasts -> `sizes`."""
        return x.expand(filled(self.sizes, numbers))

    def extra_repr(self) -> str:
        """As it is printed."""
        return f"sizes={self.sizes}"


class Split(nn.Module):
    """Cuts one axis into consecutive pieces."""

    def __init__(self, sizes: Sequence[int], dim: int) -> None:
        super().__init__()
        self.sizes, self._dim = tuple(sizes), dim

    def forward(self, x: Tensor, *numbers: int) -> tuple[Tensor, ...]:
        """(..., sum of sizes, ...) -> pieces (..., sizes[i], ...)."""
        return torch.split(x, list(filled(self.sizes, numbers)), self._dim)

    def extra_repr(self) -> str:
        """As it is printed."""
        return f"sizes={self.sizes}, dim={self._dim}"


class Chunk(nn.Module):
    """Cuts one axis into consecutive pieces of one length, which therefore lose the same number of positions."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.size, self._dim = size, dim

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(..., n * size, ...) -> n pieces (..., size, ...)."""
        return torch.split(x, self.size, self._dim)

    def extra_repr(self) -> str:
        """As it is printed."""
        return f"size={self.size}, dim={self._dim}"


class Slice(nn.Module):
    """Positions start, start + step, ... before stop of one axis."""

    def __init__(self, start: int, stop: int | None, step: int, dim: int) -> None:
        super().__init__()
        self.start, self.stop, self._step, self._dim = start, stop, step, dim

    def forward(self, x: Tensor) -> Tensor:
        """(..., length, ...) -> (..., number of positions, ...)."""
        return torch.ops.aten.slice.Tensor(x, self._dim, self.start, self.stop, self._step)

    def extra_repr(self) -> str:
        """As it is printed."""
        return f"start={self.start}, stop={self.stop}, step={self._step}, dim={self._dim}"


class Pad(nn.Module):
    """Adds positions at both ends of axes."""

    def __init__(self, pads: Sequence[int], mode: str = "constant", value: float = 0.0) -> None:
        super().__init__()
        self.pads, self._mode, self._value = tuple(pads), mode, value

    def forward(self, x: Tensor) -> Tensor:
        """(..., length, ...) -> (..., before + length + after, ...)."""
        value = self._value if self._mode == "constant" else None
        return functional.pad(x, list(self.pads), self._mode, value)

    def extra_repr(self) -> str:
        """As it is printed."""
        return f"pads={self.pads}, mode={self._mode!r}, value={self._value}"


class Full(nn.Module):
    """A new tensor with one value everywhere, on the device of the tensor that it is called with."""

    def __init__(self, sizes: Sequence[int], value: float, dtype: torch.dtype) -> None:
        super().__init__()
        self.sizes, self._value, self._dtype = tuple(sizes), value, dtype

    def forward(self, like: Tensor, *numbers: int) -> Tensor:
        """Anything -> `sizes`."""
        return torch.full(filled(self.sizes, numbers), self._value, dtype=self._dtype, device=like.device)

    def extra_repr(self) -> str:
        """As it is printed."""
        return f"sizes={self.sizes}, value={self._value}, dtype={self._dtype}"


class Arange(nn.Module):
    """The numbers start, start + step, ... before stop, on the device of the tensor that it is called with."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, like: Tensor, start: float, stop: float, step: float) -> Tensor:
        """Anything -> (number of values,)."""
        return torch.arange(start, stop, step, dtype=self.dtype, device=like.device)

    def extra_repr(self) -> str:
        """As it is printed."""
        return f"dtype={self.dtype}"


class Stack(nn.Module):
    """Numbers known at run time as a tensor, on the device of the tensor that it is called with."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, like: Tensor, *numbers: float) -> Tensor:
        """Anything -> (number of values,)."""
        return torch.stack([torch.full((), number, dtype=self.dtype, device=like.device) for number in numbers])

    def extra_repr(self) -> str:
        """As it is printed."""
        return f"dtype={self.dtype}"


MADE_OF_SIZES = (Full, Arange, Stack)  # what they give does not depend on what the tensor at hand holds
