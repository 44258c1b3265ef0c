"""Proposes a replacement for a block, and takes it only if it computes what the block does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from compressor.core.plan import Rewrite
from compressor.graph.cost import evaluating
from compressor.rewrites.attention import Attention, candidates
from exporters.signature import ExampleInputs, flatten_outputs

TOLERANCE = 1e-5  # of the largest output; another order of additions stays below, another formula does not

WHOLE = 1e-4  # the same for a whole model, where differences add up


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
            options = next((o for o in candidates(block) if _same(block, Attention(block, o), given, returned)), None)
        if options is not None:
            found.append(Rewrite(layer, "attention", options))
    return tuple(found)


def computes_the_same(model: nn.Module, other: nn.Module, inputs: ExampleInputs) -> bool:
    """Whether both give the same outputs; no if one of them does not run."""
    with evaluating(model), evaluating(other), torch.random.fork_rng(devices=[]):
        try:
            outputs = [flatten_outputs(inputs.call(each)) for each in (model, other)]
        except Exception:  # a user's forward may raise anything, as where it reads what a block has no more
            return False
    return all(_close(ours, theirs, WHOLE) for ours, theirs in zip(*outputs, strict=True))


def _calls(model: nn.Module, inputs: ExampleInputs, layers: Sequence[str]) -> dict[str, tuple[Tensor, Tensor]]:
    """What each block is given and returns, where that is one tensor each."""
    calls: dict[str, tuple[Tensor, Tensor]] = {}
    unfit: set[str] = set()

    def hook(layer: str) -> Any:
        def note(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], returned: Any) -> None:
            others = [each for each in (*args[1:], *kwargs.values()) if each is not None]
            if not args or others or not all(isinstance(each, Tensor) for each in (args[0], returned)):
                unfit.add(layer)
            else:
                calls[layer] = args[0], returned

        return note

    handles = [model.get_submodule(layer).register_forward_hook(hook(layer), with_kwargs=True) for layer in layers]
    try:
        with evaluating(model), torch.random.fork_rng(devices=[]):
            inputs.call(model)
    finally:
        for handle in handles:
            handle.remove()
    return {layer: call for layer, call in calls.items() if layer not in unfit}


def _same(block: nn.Module, other: nn.Module, given: Tensor, returned: Tensor) -> bool:
    """On what it is given, and on random numbers for more tokens: a single one has no formula to differ in."""
    other.eval()
    *lead, n_tokens, width = given.shape
    random = torch.randn(*lead, n_tokens + 3, width, generator=torch.Generator().manual_seed(0)).to(given)
    try:
        return _close(other(given), returned) and _close(other(random), block(random))
    except Exception:  # the block's own code may raise anything, and takes no other number of tokens
        return False


def _close(found: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> bool:
    if found.shape != expected.shape:
        return False
    return bool((found.double() - expected.double()).abs().max() <= tolerance * expected.double().abs().max())
