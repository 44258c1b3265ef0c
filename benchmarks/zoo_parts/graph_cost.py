"""Seconds and memory of building a model's graph."""

from __future__ import annotations

import ctypes
import gc
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from compressor.graph.cost import evaluating
from compressor.graph.engine import find_groups
from exporters.signature import ExampleInputs


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
    _give_back_free_memory()
    before = _memory("VmRSS") if _reset_peak() else None
    start = time.perf_counter()
    found = find_groups(model, inputs)
    seconds = time.perf_counter() - start
    growth = max(0, _memory("VmHWM") - before) if before is not None else None
    del found
    own = sum(t.numel() * t.element_size() for t in [*model.parameters(), *model.buffers()])
    return GraphCost(seconds, growth, own, activations)


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


def _give_back_free_memory() -> None:
    """What earlier stages freed must not hide what the graph takes."""
    gc.collect()
    with suppress(OSError, AttributeError):  # only the GNU C library has it
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _reset_peak() -> bool:
    """Sets the kernel's record of this process's peak to what it holds now; False where that cannot be done."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _memory(what: str) -> int:
    """VmRSS (now) or VmHWM (peak) of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == what:
            return int(value.split()[0]) * 1024
    raise OSError(f"the system does not tell {what}")
