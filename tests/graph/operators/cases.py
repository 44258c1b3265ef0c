"""A network with one operator between two layers, and the two questions that are put to every rule."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from compressor.graph.engine import follow
from compressor.graph.tracing import trace
from compressor.surgery.check import Reference
from exporters.signature import ExampleInputs
from tests.networks import seeded

Between = Callable[[Any, Tensor], Tensor]


class Around(nn.Module):
    """stem -> `between(self, x)` -> read -> head; `more` are further layers for `between`."""

    def __init__(self, between: Between, n: int, out: int, more: dict[str, Any]) -> None:
        super().__init__()
        self.between = between
        self.stem, self.read, self.head = self.layer(n), self.reader(out), nn.Linear(7, 3)
        for name, value in more.items():
            setattr(self, name, value() if callable(value) else value)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.without_pixels(torch.tanh(self.read(self.between(self, self.stem(x))))))


class Tokens(Around):
    """(2, 5, 6) -> (2, 5, n) -> between -> (..., out) -> (..., 3)"""

    inputs = (2, 5, 6)

    def layer(self, n: int) -> nn.Module:
        return nn.Linear(6, n)

    def reader(self, out: int) -> nn.Module:
        return nn.Linear(out, 7)

    def without_pixels(self, x: Tensor) -> Tensor:
        return x


class Images(Around):
    """(2, 3, 4, 6) -> (2, n, 4, 6) -> between -> (2, out, ., .) -> (2, 3)"""

    inputs = (2, 3, 4, 6)

    def layer(self, n: int) -> nn.Module:
        return nn.Conv2d(3, n, 1)

    def reader(self, out: int) -> nn.Module:
        return nn.Conv2d(out, 7, 1)

    def without_pixels(self, x: Tensor) -> Tensor:
        return x.flatten(2).mean(2)


def make(kind: type[Around], between: Between, n: int = 8, out: int | None = None, **more: Any) -> nn.Module:
    """The network with weights from a fixed seed."""
    return seeded(lambda: kind(between, n, n if out is None else out, more))


def _reference(model: Any) -> Reference:
    x = torch.randn(model.inputs, generator=torch.Generator().manual_seed(3))
    return Reference(model, ExampleInputs.of(x, model))


def cut_and_silenced(model: nn.Module, operator: str) -> dict[str, int]:
    """{group: channels}, after cutting has equalled silencing for three random kept sets of every group.

    The operator must have been executed, and what is removed must have moved the outputs.
    """
    reference = _reference(model)
    names = [step.name for step in trace(reference.model, reference.inputs).steps]
    assert operator in names, f"executed were {names}"
    groups = follow(reference.model, reference.inputs).groups
    for seed in range(3):
        generator = random.Random(seed)
        keep = {
            g.name: sorted(generator.sample(range(g.n_channels), generator.randint(1, g.n_channels - 1)))
            for g in groups
        }
        difference = reference.compare(groups, keep)
        assert difference.dtype == "float64" and difference.equal, difference
        assert not groups or difference.effect_rel > 1e-6
    return {group.name: group.n_channels for group in groups}


def named(cases: list[tuple[Any, ...]]) -> list[str]:
    """Names of test cases, which begin with their operator."""
    return [f"{number}-{case[0]}" for number, case in enumerate(cases)]


def reasons(model: nn.Module, tensor: str, axis: int = 0) -> list[str]:
    """Why each atomic axis of one axis of a parameter stays; empty for those that may shrink."""
    reference = _reference(model)
    found = trace(reference.model, reference.inputs).tensors[tensor][axis]
    return [atom.frozen for atom in found.atoms()] if found is not None else []


def why_blocked(model: nn.Module, layer: str = "stem") -> str:
    """The reason for which a layer's channels stay."""
    reference = _reference(model)
    blocked = follow(reference.model, reference.inputs).blocked
    return next((group.reason for group in blocked if layer in group.layers), f"{layer} is not blocked")
