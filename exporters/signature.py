"""What a module is called with, and what it gives back, independent of how its author spells it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree


@dataclass(frozen=True)
class ExampleInputs:
    """Tensors that the module accepts, with the names that exported files will bear.

    Every tensor's axis 0 is the batch. `by_keyword` tells whether the module wants them by name.
    """

    names: tuple[str, ...]
    tensors: tuple[Tensor, ...]
    by_keyword: bool = False

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
        return ExampleInputs(self.names, moved, self.by_keyword)

    def tiled(self, batch_size: int) -> ExampleInputs:
        """The same tensors, repeated along axis 0 (or cut) to `batch_size`."""
        n = -(-batch_size // self.batch_size)
        repeated = tuple(t.repeat(n, *(1,) * (t.ndim - 1))[:batch_size].clone() for t in self.tensors)
        return ExampleInputs(self.names, repeated, self.by_keyword)

    def random(self, batch_size: int, seed: int) -> ExampleInputs:
        """New inputs of the same shapes and kinds: normal numbers, or integers (token ids) drawn from those seen."""
        generator = torch.Generator().manual_seed(seed)
        drawn = tuple(_random_like(tensor, batch_size, generator) for tensor in self.tensors)
        return ExampleInputs(self.names, drawn, self.by_keyword)


def flatten_outputs(output: Any) -> list[Tensor]:
    """The tensors inside whatever a module returns (tuple, dict, dataclass), in a fixed order."""
    if hasattr(output, "to_tuple"):  # Hugging Face's ModelOutput
        output = output.to_tuple()
    return [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]


def _positional_names(module: nn.Module, n: int) -> tuple[str, ...]:
    parameters = inspect.signature(module.forward).parameters.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return tuple(names[i] if i < len(names) else f"input_{i}" for i in range(n))


def _random_like(tensor: Tensor, batch_size: int, generator: torch.Generator) -> Tensor:
    shape = (batch_size, *tensor.shape[1:])
    if tensor.is_floating_point():
        return torch.randn(shape, generator=generator).to(tensor.dtype).to(tensor.device)
    values = tensor.flatten().cpu()  # only values that the model is known to accept
    picked = torch.randint(len(values), shape, generator=generator)
    return values[picked].to(tensor.device)
