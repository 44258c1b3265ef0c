"""A module put into the state in which it is exported, and put back."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every submodule's mode is restored.

    The flags are set one by one, because a `train` or `eval` that the author overrides may change weights for good, and
    an exported program's module has neither.
    """
    training = [(part, part.training) for part in module.modules()]
    try:
        for part, _ in training:
            part.training = False
        with torch.no_grad():
            yield
    finally:
        for part, mode in training:
            part.training = mode


@contextmanager
def without_fast_path() -> Iterator[None]:
    """Attention written out in ordinary operators: exporters cannot express torch's fused evaluation path."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def on_cpu(module: nn.Module) -> nn.Module:
    """`module` itself if all of it is on the CPU, else a copy that is."""
    tensors = chain(module.parameters(), module.buffers())
    return module if all(tensor.device.type == "cpu" for tensor in tensors) else cpu_copy(module)


def cpu_copy(module: nn.Module) -> nn.Module:
    """A copy on the CPU; nothing is copied on the device, whose memory may be full."""
    tensors = chain(module.parameters(), module.buffers())
    return copy.deepcopy(module, {id(tensor): _cpu_tensor(tensor) for tensor in tensors})


def _cpu_tensor(tensor: torch.Tensor) -> torch.Tensor:
    moved = tensor.detach().cpu()
    return nn.Parameter(moved, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved
