"""Layers that can be split, and the layers that they are split into."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

Convolution = nn.modules.conv._ConvNd
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def refusal(layer: nn.Module, allowed: Sequence[type[nn.Module]]) -> str:
    """Why a layer cannot be replaced by others that compute the same from its weight alone; empty if it can."""
    reason = weight_refusal(layer, allowed)
    if not reason and (layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer)):
        return (
            "A layer to split must do nothing but its product, but this one has a forward hook or a forward of its "
            "own, which would be lost. Remove it first."
        )
    return reason


def weight_refusal(layer: nn.Module, allowed: Sequence[type[nn.Module]]) -> str:
    """Why a layer's weight is not one to take apart; empty if it is."""
    wanted = " or ".join(kind.__name__ for kind in allowed)
    if parametrize.is_parametrized(layer):
        return (
            "A layer to split must hold its weight, but this one computes it by a parametrization. "
            "Call torch.nn.utils.parametrize.remove_parametrizations first."
        )
    if type(layer) not in allowed:
        own = ", a class of its own that may compute something else" if isinstance(layer, tuple(allowed)) else ""
        return f"A layer to split must be a plain {wanted}, but got {type(layer).__name__}{own}. Leave it out."
    if "weight" not in layer._parameters:
        return (
            "A layer to split must hold its weight, but this one computes it before each call (weight or spectral "
            "norm, or a pruning mask, of torch.nn.utils). Make the weight permanent first."
        )
    weight = cast(nn.Parameter, layer.weight)
    if weight.is_meta or not weight.is_floating_point():
        return f"A weight to split must hold real numbers, but this one is {weight.dtype} on {weight.device}."
    if not bool(weight.isfinite().all()):
        return (
            "A weight to split must be finite numbers, but some are not. "
            "Was the model saved after its training had diverged?"
        )
    return ""


def exact_weight(layer: nn.Module) -> Tensor:
    """The weight in double precision on the CPU."""
    return cast(nn.Parameter, layer.weight).detach().to("cpu", torch.float64)


def n_groups(layer: nn.Module) -> int:
    """Groups of a convolution; a linear layer is one."""
    return layer.groups if isinstance(layer, Convolution) else 1


def convolution_like(
    layer: Convolution, n_inputs: int, n_outputs: int, *, groups: int, axes: Collection[int], bias: bool = False
) -> nn.Module:
    """A convolution of `layer`'s kind with its kernel, stride, padding and dilation on some spatial axes, 1 on others.

    It holds no numbers: it is on the device "meta", whose initialisation draws none.
    """

    def along(sizes: tuple[int, ...], elsewhere: int) -> tuple[int, ...]:
        return tuple(size if axis in axes else elsewhere for axis, size in enumerate(sizes))

    padding: str | tuple[int, ...]
    if isinstance(layer.padding, str):  # "same" and "valid" look at each axis's kernel, which is 1 elsewhere
        padding, pads = layer.padding, bool(axes)
    else:
        padding = along(layer.padding, 0)
        pads = any(padding)
    kind = cast(Callable[..., nn.Module], type(layer))
    return kind(
        n_inputs,
        n_outputs,
        along(layer.kernel_size, 1),
        stride=along(layer.stride, 1),
        padding=padding,
        dilation=along(layer.dilation, 1),
        groups=groups,
        bias=bias,
        padding_mode=layer.padding_mode if pads else "zeros",
        device="meta",
        dtype=layer.weight.dtype,
    )


def linear_like(layer: nn.Linear, n_inputs: int, n_outputs: int, *, bias: bool = False) -> nn.Linear:
    """A linear layer of the same type without numbers."""
    return nn.Linear(n_inputs, n_outputs, bias=bias, device="meta", dtype=layer.weight.dtype)


def products(skeleton: nn.Module) -> list[nn.Module]:
    """The convolutions and linear layers of a replacement, in the order of their definition."""
    return [part for part in skeleton.modules() if isinstance(part, Convolution | nn.Linear)]


def filled(skeleton: nn.Module, layer: nn.Module, weights: Sequence[Tensor]) -> nn.Module:
    """The skeleton with these numbers in its products, and `layer`'s bias where there is room for it.

    Device, type, mode, and whether gradients flow are the layer's.
    """
    for part, values in zip(products(skeleton), weights, strict=True):
        part.weight = _like(cast(nn.Parameter, layer.weight), values.reshape(cast(Tensor, part.weight).shape))
        if part.bias is not None:
            bias = cast(nn.Parameter, layer.bias)
            part.bias = _like(bias, bias.detach())
    return skeleton.train(layer.training)


def _like(parameter: nn.Parameter, values: Tensor) -> nn.Parameter:
    fresh = torch.empty(values.shape, dtype=parameter.dtype, device=parameter.device).copy_(values)
    return nn.Parameter(fresh, requires_grad=parameter.requires_grad)
