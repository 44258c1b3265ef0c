"""What a module is called with, and what it gives back, independent of how its author spells it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree


@dataclass(frozen=True)
class Interface:
    """What the file that a module was read from says beyond its inputs' names; files made of it say the same."""

    output_names: tuple[str, ...] = ()  # empty: exporters choose
    dynamic_axes: tuple[Mapping[int, str], ...] | None = None  # per input: axis -> name; None: axis 0 is "batch"
    other_sizes: Mapping[str, int] = field(default_factory=dict)  # name of an axis -> a second length that works
    metadata: Mapping[str, str] = field(default_factory=dict)

    def axis_names(self, n_inputs: int) -> tuple[Mapping[int, str], ...]:
        """Per input: axis -> name, of the axes that vary."""
        return ({0: "batch"},) * n_inputs if self.dynamic_axes is None else self.dynamic_axes


@dataclass(frozen=True)
class ExampleInputs:
    """Tensors that the module accepts, with the names that exported files will bear.

    Every tensor's axis 0 is the batch. `by_keyword` tells whether the module wants them by name.
    """

    names: tuple[str, ...]
    tensors: tuple[Tensor, ...]
    by_keyword: bool = False
    interface: Interface = Interface()

    @classmethod
    def of(
        cls, inputs: ExampleInputs | Tensor | Sequence[Tensor] | Mapping[str, Tensor], module: nn.Module
    ) -> ExampleInputs:
        """Wraps what a user passes as `example_inputs`; names come from the signature of `module.forward`."""
        if isinstance(inputs, ExampleInputs):
            return inputs
        if isinstance(inputs, Mapping):
            return cls(tuple(inputs), tuple(inputs.values()), by_keyword=True)
        tensors = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
        return cls(_positional_names(module, len(tensors)), tensors)

    @property
    def batch_size(self) -> int:
        """Length of axis 0."""
        return int(self.tensors[0].shape[0])

    def call(self, module: nn.Module) -> Any:
        """What the module gives for these inputs."""
        if self.by_keyword:
            return module(**dict(zip(self.names, self.tensors, strict=True)))
        return module(*self.tensors)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> ExampleInputs:
        """Moves the tensors; `dtype` touches only those that hold floating-point numbers."""
        moved = tuple(t.to(device=device, dtype=dtype if t.is_floating_point() else None) for t in self.tensors)
        return replace(self, tensors=moved)

    def tiled(self, batch_size: int) -> ExampleInputs:
        """The same tensors, repeated along axis 0 (or cut) to `batch_size`."""
        n = -(-batch_size // self.batch_size)
        repeated = tuple(t.repeat(n, *(1,) * (t.ndim - 1))[:batch_size].clone() for t in self.tensors)
        return replace(self, tensors=repeated)

    def random(self, batch_size: int, seed: int) -> ExampleInputs:
        """New inputs of the same shapes and kinds: normal numbers, or integers (token ids) drawn from those seen."""
        generator = torch.Generator().manual_seed(seed)
        drawn = tuple(_random_like(tensor, batch_size, generator) for tensor in self.tensors)
        return replace(self, tensors=drawn)

    def resized(self) -> ExampleInputs | None:
        """Random inputs with the second length on every axis that varies beside the batch; None if there is none."""
        interface = self.interface
        axes = interface.axis_names(len(self.tensors))
        if not any(name in interface.other_sizes for named in axes for axis, name in named.items() if axis):
            return None
        generator = torch.Generator().manual_seed(0)
        drawn = []
        for tensor, named in zip(self.tensors, axes, strict=True):
            shape = list(tensor.shape)
            for axis, name in named.items():
                shape[axis] = interface.other_sizes.get(name, shape[axis]) if axis else shape[axis]
            drawn.append(_random_like(tensor, shape[0], generator, tuple(shape[1:])))
        return replace(self, tensors=tuple(drawn))


def flatten_outputs(output: Any) -> list[Tensor]:
    """The tensors inside whatever a module returns (tuple, dict, dataclass), in a fixed order."""
    if hasattr(output, "to_tuple"):  # Hugging Face's ModelOutput
        output = output.to_tuple()
    return [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]


def _positional_names(module: nn.Module, n: int) -> tuple[str, ...]:
    parameters = inspect.signature(module.forward).parameters.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return tuple(names[i] if i < len(names) else f"input_{i}" for i in range(n))


def _random_like(
    tensor: Tensor, batch_size: int, generator: torch.Generator, sample: tuple[int, ...] | None = None
) -> Tensor:
    shape = (batch_size, *(tensor.shape[1:] if sample is None else sample))
    if tensor.is_floating_point():
        return torch.randn(shape, generator=generator).to(tensor.dtype).to(tensor.device)
    values = tensor.flatten().cpu()  # only values that the model is known to accept
    picked = torch.randint(len(values), shape, generator=generator)
    return values[picked].to(tensor.device)
