"""Multiply-accumulates of single layers and of what replaces them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from compressor.decompositions.layers import products


def product_macs(layer: nn.Module, output: Tensor) -> int:
    """Of one call of a convolution or linear layer.

    >>> product_macs(nn.Conv2d(4, 6, 3, groups=2), torch.empty(1, 6, 5, 5))
    2700
    """
    return output.numel() * cast(nn.Parameter, layer.weight)[0].numel()


def skeleton_macs(skeleton: nn.Module, shapes: Iterable[tuple[int, ...]]) -> int:
    """Of calls with inputs of these shapes. The skeleton is on the device "meta": nothing is computed.

    >>> skeleton_macs(nn.Sequential(nn.Linear(8, 2, device="meta"), nn.Linear(2, 8, device="meta")), [(1, 8)])
    32
    """
    total = 0

    def add(layer: nn.Module, _given: object, output: Tensor) -> None:
        nonlocal total
        total += product_macs(layer, output)

    parts = products(skeleton)
    handles = [part.register_forward_hook(add) for part in parts]
    try:
        with torch.no_grad():
            for shape in shapes:
                skeleton(torch.empty(shape, dtype=cast(Tensor, parts[0].weight).dtype, device="meta"))
    finally:
        for handle in handles:
            handle.remove()
    return total
