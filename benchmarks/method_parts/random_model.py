"""Public architectures with random weights in which channels differ from each other."""

from __future__ import annotations

import torch
from torch import nn
from zoo_parts.random_weights import draw_zeros

from compressor.loading.architecture import build


def random_model(arch: str) -> nn.Module:
    """What `--arch` names, in evaluation mode; scales of norms are drawn, too, since equal ones rank nothing."""
    torch.manual_seed(0)
    model = build(arch, {})
    draw_zeros(model)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 1 and name.endswith("weight"):
                weight.uniform_(0.5, 1.5)
    return model.eval()
