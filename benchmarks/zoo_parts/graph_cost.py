"""Seconds and memory of building a model's graph."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from compressor.graph.cost import evaluating
from compressor.graph.engine import find_groups
from exporters.signature import ExampleInputs
from zoo_parts.memory import growth_of_memory


@dataclass(frozen=True)
class GraphCost:
    """What building the graph took.

    Memory is the growth of the process's resident memory: its peak while the graph is built, less what the process
    held before. It stands beside the model's own bytes (parameters and buffers) and its activations: the outputs of all
    leaf modules in one forward pass. That leaves out what functions between modules make (attention scores,
    concatenations), so it is less than the model needs, and the comparison is strict.

    Before the measurement the model has run once and the graph of a tiny network was built: what libraries load when
    they are first used is neither in the seconds nor in the bytes.
    """

    seconds: float
    growth_bytes: int | None  # None where the system does not tell peaks (only Linux does)
    model_bytes: int
    activation_bytes: int


def measure_graph(model: nn.Module, inputs: ExampleInputs) -> GraphCost:
    """Builds the graph once, as every run does, and throws it away.

    Raises:
        CompressionError: the model cannot be traced.
    """
    activations = activation_bytes(model, inputs)
    tiny = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)).eval()
    find_groups(tiny, ExampleInputs.of(torch.zeros(1, 3, 8, 8), tiny))
    with growth_of_memory() as memory:
        start = time.perf_counter()
        find_groups(model, inputs)
        seconds = time.perf_counter() - start
    own = sum(t.numel() * t.element_size() for t in [*model.parameters(), *model.buffers()])
    return GraphCost(seconds, memory.growth_bytes, own, activations)


def activation_bytes(model: nn.Module, inputs: ExampleInputs) -> int:
    """Bytes of the outputs of all leaf modules in one forward pass; one that returns its input counts nothing."""
    total = 0

    def count(_module: nn.Module, args: tuple[object, ...], output: object) -> None:
        nonlocal total
        taken = {leaf.data_ptr() for leaf in tree_leaves(args) if isinstance(leaf, Tensor)}
        made = {leaf.data_ptr(): leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)}
        total += sum(t.numel() * t.element_size() for pointer, t in made.items() if pointer not in taken)

    with ExitStack() as stack:
        for module in model.modules():
            if not any(module.children()):
                stack.callback(module.register_forward_hook(count).remove)
        stack.enter_context(evaluating(model))
        inputs.call(model)
    return total
