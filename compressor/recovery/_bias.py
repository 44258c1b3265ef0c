"""Adds a constant to what a layer returns, without a parameter that the model did not have before.

That is its bias; of a layer without one, the running mean of the batch norm that is given exactly what it returns.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from compressor.calibration.norms import BatchNorm
from exporters.signature import ExampleInputs

LAYERS = (nn.modules.conv._ConvNd, nn.Linear)


def norms_behind(model: nn.Module, inputs: ExampleInputs) -> dict[str, str]:
    """{layer: batch norm} for every convolution and linear layer whose result goes to a batch norm as it is.

    The result must go nowhere else; that it does is not looked for (no architecture in use does that).
    """
    made: list[tuple[Tensor, str]] = []  # the tensors too, so that no identity is given out twice
    found: dict[str, str] = {}

    def meets(name: str, given: object) -> None:
        found.update({layer: name for tensor, layer in made if tensor is given})

    handles = []
    for name, module in model.named_modules():
        if isinstance(module, LAYERS):
            handles.append(module.register_forward_hook(lambda _m, _args, out, name=name: made.append((out, name))))
        elif isinstance(module, BatchNorm) and module.running_mean is not None:
            handles.append(module.register_forward_pre_hook(lambda _m, args, name=name: meets(name, args[0])))
    try:
        with torch.no_grad():
            inputs.call(model)
    finally:
        for handle in handles:
            handle.remove()
    return found


def add_to_outputs(model: nn.Module, layer: str, constant: Tensor, norms: Mapping[str, str]) -> bool:
    """Lets `layer` return `constant` (C_out,) more, or as if it did; False if there is no place for it."""
    bias = model.get_submodule(layer).bias
    if isinstance(bias, Tensor):
        with torch.no_grad():
            bias += constant.to(bias)
        return True
    if layer not in norms:
        return False
    mean = model.get_submodule(norms[layer]).running_mean
    if not isinstance(mean, Tensor):
        return False
    mean -= constant.to(mean)
    return True
