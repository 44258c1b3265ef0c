"""Calling a classifier on images: its scores, where it stands meanwhile, and the memory layout it runs fastest in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from compressor.core.errors import DataError, UnsupportedModel
from exporters.signature import flatten_outputs


def class_scores(output: Any, owner: str) -> Tensor:
    """(N, K) scores: the first tensor of what the model returns (a tensor, a tuple, a dictionary, a dataclass).

    Raises:
        UnsupportedModel: there is none of that shape.
    """
    tensors = flatten_outputs(output)
    if not tensors or tensors[0].ndim != 2:
        got = f"shape {tuple(tensors[0].shape)}" if tensors else type(output).__name__
        raise UnsupportedModel(
            f"{owner}: the model's first output must be class scores (images, classes), but got {got}. "
            "Only classifiers can be evaluated and trained here."
        )
    return tensors[0]


def try_scores(model: nn.Module, inputs: Tensor, owner: str, source: str) -> Tensor:
    """Scores of a model in eval mode, the first time that it meets the data.

    Raises:
        DataError: the model does not accept images of this shape.
    """
    try:
        with torch.no_grad():
            return class_scores(model(inputs), owner)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{owner}: the model does not accept images of shape {tuple(inputs.shape[1:])} from {source} ({reason}). "
            "Set the size and the number of channels that it was trained with."
        ) from error


def fastest_layout(models: Sequence[nn.Module], inputs: Tensor) -> torch.memory_format:
    """`channels_last` if all models (in eval mode) run in it, else contiguous; leaves the models in it.

    Convolutions are faster in channels-last (a quarter for a small ResNet on a CPU), but a model that calls `view` on a
    feature map cannot run in it.
    """
    if inputs.ndim != 4:
        return torch.contiguous_format
    for model in models:
        model.to(memory_format=torch.channels_last)
    try:
        with torch.no_grad():
            for model in models:
                model(inputs.contiguous(memory_format=torch.channels_last))
    except RuntimeError:  # the same inputs ran before: it is the layout
        for model in models:
            model.to(memory_format=torch.contiguous_format)
        return torch.contiguous_format
    return torch.channels_last


@contextmanager
def borrowed(model: nn.Module, device: torch.device | str) -> Iterator[None]:
    """The model on `device` and in eval mode; afterwards back where it was, each layer in its own mode, contiguous."""
    modes = {module: module.training for module in model.modules()}
    home = next((parameter.device for parameter in model.parameters()), None)
    try:
        model.to(device).eval()
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        model.to(memory_format=torch.contiguous_format)
        if home is not None:
            model.to(home)
