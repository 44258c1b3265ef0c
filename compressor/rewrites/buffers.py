"""Tensors that a module keeps as plain attributes: a table of positions that nobody registered.

Neither parameters nor buffers, they are in no state dict, and what meets them keeps its size. Registered as buffers
that are not saved, they are followed and cut like all others; the model computes the same.
"""

from __future__ import annotations

from torch import Tensor, nn

from compressor.core.errors import WeightsMismatch
from compressor.core.plan import Rewrite


def plain_tensors(model: nn.Module) -> tuple[Rewrite, ...]:
    """Every such tensor of numbers that has an axis."""
    return tuple(
        Rewrite(layer, "buffer", {"name": name})
        for layer, module in model.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, Tensor) and value.dim() and value.is_floating_point()
    )


def check(module: nn.Module, name: str) -> None:
    """Raises:
    WeightsMismatch: the module keeps no plain tensor of this name.
    """
    if not isinstance(vars(module).get(name), Tensor):
        raise WeightsMismatch(f"it keeps no tensor {name}")


def register(module: nn.Module, name: str) -> None:
    """Makes the tensor a buffer that is not saved."""
    tensor = vars(module).pop(name)
    module.register_buffer(name, tensor.detach(), persistent=False)
