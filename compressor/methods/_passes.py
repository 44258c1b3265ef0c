"""Passes through a model that is left as it was found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def as_found(model: nn.Module, seed: int, parameters: Iterable[nn.Parameter] = ()) -> Iterator[None]:
    """Evaluation mode with gradients for `parameters`; modes, buffers and random state are put back afterwards."""
    modes = {module: module.training for module in model.modules()}
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]  # some layers write them in evaluation mode too
    frozen = [parameter for parameter in parameters if not parameter.requires_grad]
    devices = {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}
    with torch.random.fork_rng(list(devices)), torch.enable_grad():
        torch.manual_seed(seed)  # a model may draw numbers in evaluation mode too
        model.eval()
        try:
            for parameter in frozen:
                parameter.requires_grad_(True)
            yield
        finally:
            for parameter in frozen:
                parameter.requires_grad_(False)
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
            for module, training in modes.items():
                module.training = training
