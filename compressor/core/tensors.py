"""A model's parameters and buffers by their dotted names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compressor.core.errors import UnsupportedModel


def tensor_named(model: nn.Module, name: str) -> Tensor:
    """The parameter or buffer with this dotted name, without its gradient history."""
    layer, _, leaf = name.rpartition(".")
    tensor: Tensor = getattr(model.get_submodule(layer), leaf)
    return tensor.detach()


def exact(model: nn.Module, name: str) -> Tensor:
    """The tensor with this name, on the CPU in double precision.

    Raises:
        UnsupportedModel: an entry is infinite or not a number.
    """
    tensor = tensor_named(model, name).to("cpu", torch.float64)
    if not bool(tensor.isfinite().all()):
        raise UnsupportedModel(
            f"{name}: weights must be finite numbers, but {int((~tensor.isfinite()).sum())} are not. "
            "Was the model saved after its training had diverged?"
        )
    return tensor
