"""Random weights that let every layer matter."""

from __future__ import annotations

import torch
from torch import nn


def draw_zeros(model: nn.Module) -> None:
    """Weights that start at zero (the last layers of some) would make every output a constant, and prove nothing.

    Biases of zero would hide one that is lost, and give a detector's boxes one score, whose order then is anybody's.
    """
    with torch.no_grad():
        for weight in model.parameters():
            if weight.is_floating_point() and weight.numel() > 1 and not bool(weight.any()):
                weight.normal_(std=0.02 if weight.dim() > 1 else 0.1)
