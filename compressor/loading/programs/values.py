"""What flows through a program while it is turned into a module: tensors and numbers, each seen in every trial run.

A file is run as it is read, once or twice, each time with inputs of other sizes. A number that is equal in all runs is
a constant; one that differs is a `Dim`, which the module must compute again.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, fx

Number = int | float | bool


@dataclass(eq=False)
class Value:
    """A tensor of the program."""

    runs: tuple[Tensor, ...]  # in each trial run; one alone stands for all of them
    node: fx.Node | None = None  # None: a constant that has no place in the module yet
    name: str = ""  # of a constant: as the file calls it
    constant: bool = False
    trainable: bool = False
    fixed: bool = False  # made from constants and sizes alone, whatever the inputs hold
    matrix: Value | None = None  # of a constant that is the transpose of a matrix: that matrix
    late: Callable[[], Value] | None = None  # writes the operator that makes this constant, when somebody needs it

    @property
    def tensor(self) -> Tensor:
        """In the first run."""
        return self.runs[0]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.runs[0].ndim

    @property
    def dtype(self) -> torch.dtype:
        """Kind of numbers."""
        return self.runs[0].dtype

    def run(self, index: int) -> Tensor:
        """In the run of this number."""
        return self.runs[index] if len(self.runs) > 1 else self.runs[0]


class Dim:
    """A number that depends on the sizes of the inputs; arithmetic with it is written into the graph."""

    def __init__(self, node: fx.Node, runs: tuple[Number, ...], *, plain: bool = False) -> None:
        self.node, self.runs, self.plain = node, runs, plain  # plain: read off a tensor, nothing was calculated

    def __repr__(self) -> str:
        return f"Dim({self.node.name}, {self.runs})"

    def __add__(self, other: Any) -> Any:
        return calculate(operator.add, self, other)

    def __radd__(self, other: Any) -> Any:
        return calculate(operator.add, other, self)

    def __sub__(self, other: Any) -> Any:
        return calculate(operator.sub, self, other)

    def __rsub__(self, other: Any) -> Any:
        return calculate(operator.sub, other, self)

    def __mul__(self, other: Any) -> Any:
        return calculate(operator.mul, self, other)

    def __rmul__(self, other: Any) -> Any:
        return calculate(operator.mul, other, self)

    def __floordiv__(self, other: Any) -> Any:
        return calculate(operator.floordiv, self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return calculate(operator.floordiv, other, self)

    def __truediv__(self, other: Any) -> Any:
        return calculate(operator.truediv, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return calculate(operator.truediv, other, self)

    def __mod__(self, other: Any) -> Any:
        return calculate(operator.mod, self, other)

    def __rmod__(self, other: Any) -> Any:
        return calculate(operator.mod, other, self)

    def __neg__(self) -> Any:
        return calculate(operator.neg, self)


Size = int | Dim


def calculate(function: Callable[..., Any], *args: Any) -> Any:
    """`function` of plain numbers and `Dim`s: a plain number where all runs agree, else a new `Dim`."""
    dims = [arg for arg in args if isinstance(arg, Dim)]
    if not dims:
        return function(*args)
    n_runs = len(dims[0].runs)
    runs = tuple(function(*(in_run(arg, index) for arg in args)) for index in range(n_runs))
    if all(result == runs[0] for result in runs):
        return runs[0]
    node = dims[0].node.graph.call_function(function, tuple(arg.node if isinstance(arg, Dim) else arg for arg in args))
    return Dim(node, runs)


@dataclass(eq=False)
class Numbers:
    """A small tensor of sizes, which ONNX computes with operators as if it were data: each element by itself."""

    array: NDArray[Any]  # of dtype object: int, float, bool or `Dim`
    dtype: torch.dtype


def in_run(thing: Any, index: int) -> Any:
    """What a value or number is in one run; other things are what they are."""
    if isinstance(thing, Value):
        return thing.run(index)
    return thing.runs[index] if isinstance(thing, Dim) else thing


def n_elements(sizes: Sequence[int]) -> int:
    """Product of the sizes."""
    return math.prod(sizes)
