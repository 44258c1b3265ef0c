"""One operator of an ONNX graph, as the functions in `onnx_operators` see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from compressor.core.errors import UnsupportedModel
from compressor.loading.programs import shape_layers
from compressor.loading.programs.builder import Builder
from compressor.loading.programs.values import Dim, Numbers, Size, Value

Entry = Value | Numbers | None
_MOST_NUMBERS = 4096  # of a tensor that is looked at number by number


@dataclass(eq=False)
class OnnxNode:
    """An operator with its inputs at hand.

    `opset` is the version of the operator's domain that the file was written for: meanings changed over time.
    """

    op: str
    name: str
    opset: int
    build: Builder
    inputs: list[Entry]
    attributes: dict[str, Any]
    outputs: list[str]  # their names in the file
    take_bias: Callable[[int, int], Value | None] = field(default=lambda n, axis: None)
    run_graph: Callable[[Any], list[Entry]] = field(default=lambda graph: [])  # writes a graph in an attribute

    @property
    def n_outputs(self) -> int:
        """How many outputs somebody may use."""
        return len([name for name in self.outputs if name])

    def has(self, index: int) -> bool:
        """Whether this input is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def value(self, index: int) -> Value:
        """A tensor input."""
        entry = self.inputs[index] if index < len(self.inputs) else None
        if entry is None:
            raise UnsupportedModel(f"its input {index} is missing")
        return as_value(self.build, entry)

    def optional(self, index: int) -> Value | None:
        """A tensor input that may be left out."""
        return self.value(index) if self.has(index) else None

    def numbers(self, index: int) -> Numbers:
        """An input that holds sizes.

        Raises:
            UnsupportedModel: it is calculated from data.
        """
        entry = self.inputs[index] if index < len(self.inputs) else None
        found = None if entry is None else as_numbers(entry)
        if found is None:
            raise UnsupportedModel(f"its input {index} is calculated from the data, so the sizes are not known")
        return found

    def sizes(self, index: int) -> list[Size]:
        """An input that holds sizes, as a flat list."""
        return list(self.numbers(index).array.reshape(-1))

    def constants(self, index: int) -> list[Any]:
        """An input that holds plain numbers, as a flat list.

        Raises:
            UnsupportedModel: they vary with the sizes of the inputs.
        """
        numbers = self.sizes(index)
        if any(isinstance(number, Dim) for number in numbers):
            raise UnsupportedModel(f"its input {index} varies with the sizes of the inputs")
        return numbers

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute, or `default`."""
        return self.attributes.get(name, default)

    def listed(self, name: str, index: int) -> list[Any] | None:
        """Plain numbers that old opsets keep in an attribute and newer ones in an input; None if left out."""
        if name in self.attributes:
            given = self.attributes[name]
            return list(given) if isinstance(given, (list, tuple)) else [given]
        return self.constants(index) if self.has(index) else None

    def scalar(self, index: int) -> Any:
        """A plain number where the input is a constant of one element, else the tensor."""
        entry = self.inputs[index]
        if isinstance(entry, Numbers) and entry.array.size == 1:
            return entry.array.reshape(-1)[0]
        value = self.value(index)
        if value.constant and value.tensor.numel() == 1:
            return value.tensor.item()
        return value


def as_value(build: Builder, entry: Value | Numbers) -> Value:
    """The entry as a tensor."""
    if isinstance(entry, Value):
        return entry
    flat = list(entry.array.reshape(-1))
    stacked = build.size_layer(lambda: shape_layers.Stack(entry.dtype), build.inputs[0], *flat)
    return build.call(torch.reshape, stacked, list(entry.array.shape))


def as_numbers(entry: Value | Numbers) -> Numbers | None:
    """The entry number by number; None if it is calculated from data."""
    if isinstance(entry, Numbers):
        return entry
    if not entry.constant or entry.tensor.numel() > _MOST_NUMBERS:
        return None
    array = np.empty(tuple(entry.tensor.shape), dtype=object)
    array[...] = np.array(entry.tensor.tolist(), dtype=object).reshape(array.shape)
    return Numbers(array, entry.dtype)
