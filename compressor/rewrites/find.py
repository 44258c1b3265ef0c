"""Proposes a replacement for a block, and takes it only if it computes what the block does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from compressor.core.plan import Rewrite
from compressor.graph.cost import evaluating
from compressor.rewrites.attention import RETURNS, Attention, Options, candidates
from exporters.signature import ExampleInputs, flatten_outputs

TOLERANCE = 1e-5  # of the largest output; another order of additions stays below, another formula does not

WHOLE = 1e-4  # the same for a whole model, where differences add up

Returned = Tensor | tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class Call:
    """How a block is called: with one tensor, by its place or by its name."""

    place: int | str
    tensor: Tensor

    def of(self, block: nn.Module) -> Any:
        """What the block returns."""
        if isinstance(self.place, str):
            return block(**{self.place: self.tensor})
        return block(*(None,) * self.place, self.tensor)


def find(model: nn.Module, inputs: ExampleInputs, layers: Sequence[str]) -> tuple[Rewrite, ...]:
    """The blocks among `layers` that can be replaced.

    Each is compared with its replacement on what it is given in one forward pass of the model, and on random numbers.

    Args:
        model: left as it is.
        inputs: run once.
        layers: paths of blocks.
    """
    possible = [layer for layer in layers if next(candidates(model.get_submodule(layer)), None) is not None]
    calls = _calls(model, inputs, possible) if possible else {}
    found = []
    for layer, (given, returned) in calls.items():
        block = model.get_submodule(layer)
        with evaluating(model):
            same = (o for o in _returning(block, returned) if _same(block, Attention(block, o), given, returned))
            options = next(same, None)
        if options is not None:
            found.append(Rewrite(layer, "attention", options))
    return tuple(found)


def _returning(block: nn.Module, returned: Returned) -> Iterator[Options]:
    """What the block may be, given what it returns."""
    kind = 0 if isinstance(returned, Tensor) else 1 if returned[1] is None else 2
    for options in candidates(block):
        yield {**options, "returns": RETURNS[kind]}


def computes_the_same(model: nn.Module, other: nn.Module, inputs: ExampleInputs) -> bool:
    """Whether both give the same outputs; no if one of them does not run."""
    with evaluating(model), evaluating(other), torch.random.fork_rng(devices=[]):
        try:
            outputs = [flatten_outputs(inputs.call(each)) for each in (model, other)]
        except Exception:  # a user's forward may raise anything, as where it reads what a block has no more
            return False
    return all(_close(ours, theirs, WHOLE) for ours, theirs in zip(*outputs, strict=True))


def _calls(model: nn.Module, inputs: ExampleInputs, layers: Sequence[str]) -> dict[str, tuple[Call, Returned]]:
    """How each block is called with one tensor, and what it returns: one, or a tuple of one and another or none."""
    calls: dict[str, tuple[Call, Returned]] = {}
    unfit: set[str] = set()

    def hook(layer: str) -> Any:
        def note(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], returned: Any) -> None:
            given: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
            tensors = [(place, each) for place, each in given if each is not None]
            if len(tensors) == 1 and isinstance(tensors[0][1], Tensor) and _is_result(returned):
                calls[layer] = Call(*tensors[0]), returned
            else:
                unfit.add(layer)

        return note

    handles = [model.get_submodule(layer).register_forward_hook(hook(layer), with_kwargs=True) for layer in layers]
    try:
        with evaluating(model), torch.random.fork_rng(devices=[]):
            inputs.call(model)
    finally:
        for handle in handles:
            handle.remove()
    return {layer: call for layer, call in calls.items() if layer not in unfit}


def _is_result(returned: object) -> bool:
    if type(returned) is not tuple:
        return isinstance(returned, Tensor)
    return len(returned) == 2 and isinstance(returned[0], Tensor) and isinstance(returned[1], (Tensor, type(None)))


def _same(block: nn.Module, other: nn.Module, call: Call, returned: Returned) -> bool:
    """On what it is given, and on random numbers for more tokens: a single one has no formula to differ in."""
    other.eval()
    *lead, n_tokens, width = call.tensor.shape
    random = torch.randn(*lead, n_tokens + 3, width, generator=torch.Generator().manual_seed(0)).to(call.tensor)
    more = replace(call, tensor=random)
    try:
        pairs = [*_pairs(call.of(other), returned), *_pairs(more.of(other), more.of(block))]
    except Exception:  # the block's own code may raise anything, and takes no other number of tokens
        return False
    return all(_close(found, expected) for found, expected in pairs)


def _pairs(found: Returned, expected: Returned) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(flatten_outputs(found), flatten_outputs(expected), strict=True)


def _close(found: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> bool:
    if found.shape != expected.shape:
        return False
    return bool((found.double() - expected.double()).abs().max() <= tolerance * expected.double().abs().max())
