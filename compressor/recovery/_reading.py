"""What convolutions and linear layers read, channel by channel, on the average."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class Reading:
    """Sums over all that one layer was given."""

    total: Tensor | float = 0.0  # (C_in,) double
    n_values: int = 0  # images times positions

    @property
    def mean(self) -> Tensor:
        """(C_in,) double."""
        return torch.as_tensor(self.total / self.n_values)

    def note(self, layer: nn.Module, given: Tensor) -> None:
        """Adds one call; channels lie on axis 1 of images, on the last axis of a linear layer's input."""
        axis = -1 if isinstance(layer, nn.Linear) else 1
        values = given.detach().movedim(axis, 0).flatten(1).double()  # (C_in, images * positions)
        self.total = self.total + values.sum(1).cpu()
        self.n_values += values.shape[1]


@contextmanager
def reading(model: nn.Module, layers: Iterable[str]) -> Iterator[dict[str, Reading]]:
    """{layer: what it reads while this is open}; a layer that is not called is absent."""
    found: dict[str, Reading] = {}
    handles = []
    for name in layers:

        def note(layer: nn.Module, args: tuple[object, ...], name: str = name) -> None:
            if args and isinstance(args[0], Tensor):
                found.setdefault(name, Reading()).note(layer, args[0])

        handles.append(model.get_submodule(name).register_forward_pre_hook(note))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
