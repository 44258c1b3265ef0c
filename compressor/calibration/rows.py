"""A convolution or linear layer as rows: each output position is a linear function of the numbers that it reads.

y[r] = W x[r] + b for every row r (an output position of one input), group by group. Rows can be drawn, so that what has
to be kept of many large images is a table of a chosen size.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

Convolution = nn.modules.conv._ConvNd
Transposed = nn.modules.conv._ConvTransposeNd


def is_linear(module: nn.Module) -> bool:
    """Whether the module can be read as rows: a layer whose weight is a parameter of its own."""
    if not isinstance(module, nn.Linear | Convolution) or "weight" not in module._parameters:
        return False
    depthwise = isinstance(module, Convolution) and module.groups == module.in_channels == module.out_channels
    return depthwise or not isinstance(module, Transposed) or module.groups == 1


def n_unknowns(module: nn.Module) -> int:
    """How many numbers each output reads."""
    return cast(Tensor, module.weight).numel() // n_outputs(module)


def outputs_axis(module: nn.Module) -> int:
    """The axis of the weight that counts outputs; of a depthwise transposed convolution, that of its groups."""
    return 1 if isinstance(module, Transposed) and module.groups == 1 else 0


def n_outputs(module: nn.Module) -> int:
    """How many outputs the layer has."""
    return cast(Tensor, module.weight).shape[outputs_axis(module)]


def n_rows_of(module: nn.Module, output: Tensor) -> int:
    """Rows that one call makes: images times positions."""
    return output.numel() // n_outputs(module)


def inputs_of(module: nn.Module, given: Tensor, output: Tensor, rows: Tensor) -> Tensor:
    """What these rows read: (n_rows, groups, n_unknowns).

    Args:
        given, output: of one call of the module.
        rows: (n_rows,) numbers below `n_rows_of`.
    """
    if isinstance(module, nn.Linear):
        return given.flatten(0, -2)[rows][:, None]
    module = cast(Convolution, module)
    if module.padding_mode != "zeros":
        given = nn.functional.pad(given, module._reversed_padding_repeated_twice, mode=module.padding_mode)
    n_positions = math.prod(output.shape[2:])
    image, position = rows // n_positions, rows % n_positions
    read, there = _reads(module, given, output, position)  # each (n_rows, n_taps)
    pixels = given.flatten(2).transpose(1, 2)  # (N, positions, C_in)
    values = pixels[image[:, None], read] * there[..., None]  # (n_rows, n_taps, C_in)
    split = values.unflatten(2, (module.groups, -1))  # (n_rows, n_taps, groups, C_in / groups)
    return split.permute(0, 2, 3, 1).flatten(2)


def outputs_of(module: nn.Module, output: Tensor, rows: Tensor) -> Tensor:
    """What these rows return: (n_rows, n_outputs)."""
    if isinstance(module, nn.Linear):
        return output.flatten(0, -2)[rows]
    return output.flatten(2).transpose(1, 2).flatten(0, 1)[rows]


def weight_rows(module: nn.Module) -> Tensor:
    """The weight as it multiplies rows: (groups, n_unknowns, n_outputs / groups)."""
    weight = cast(Tensor, module.weight).detach()
    if isinstance(module, nn.Linear):
        return weight.T[None]
    groups = cast(Convolution, module).groups
    if isinstance(module, Transposed):
        return weight.flatten(2).transpose(1, 2).unflatten(0, (groups, -1)).flatten(1, 2)
    return weight.flatten(1).unflatten(0, (groups, -1)).transpose(1, 2)


def add_to_weight(module: nn.Module, change: Tensor) -> None:
    """Adds (groups, n_unknowns, n_outputs / groups) to the weight."""
    weight = cast(Tensor, module.weight)
    with torch.no_grad():
        if isinstance(module, Transposed):
            # (groups, C_in / groups, taps, C_out / groups) -> (C_in, C_out / groups, taps)
            moved = change.unflatten(1, (-1, math.prod(module.kernel_size))).flatten(0, 1).transpose(1, 2)
        else:
            moved = change.transpose(1, 2).flatten(0, 1)  # (C_out, C_in / groups * taps)
        weight += moved.reshape(weight.shape).to(weight)


def _reads(module: Convolution, given: Tensor, output: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """Per row and tap: the input position, and whether there is one (zero outside of the input)."""
    in_sizes, out_sizes = given.shape[2:], output.shape[2:]
    flat = torch.zeros(len(position), 1, dtype=torch.long, device=given.device)
    there = torch.ones(len(position), 1, dtype=torch.bool, device=given.device)
    coordinates = torch.unravel_index(position, out_sizes)  # one (n_rows,) per axis
    for axis, at in enumerate(coordinates):
        tap = torch.arange(module.kernel_size[axis], device=given.device) * module.dilation[axis]
        start = _padding_before(module, axis)
        if isinstance(module, Transposed):
            reached = at[:, None] + start - tap  # of an input at i, the tap lands on i * stride + tap - padding
            read, fits = reached.div(module.stride[axis], rounding_mode="floor"), reached % module.stride[axis] == 0
        else:
            read = at[:, None] * module.stride[axis] - start + tap
            fits = torch.ones_like(read, dtype=torch.bool)
        fits = fits & (read >= 0) & (read < in_sizes[axis])
        flat = (flat[:, :, None] * in_sizes[axis] + read.clamp(0, in_sizes[axis] - 1)[:, None, :]).flatten(1)
        there = (there[:, :, None] & fits[:, None, :]).flatten(1)
    return flat, there


def _padding_before(module: Convolution, axis: int) -> int:
    if module.padding_mode != "zeros":
        return 0  # already padded
    if module.padding == "same":
        return (module.dilation[axis] * (module.kernel_size[axis] - 1)) // 2
    return 0 if module.padding == "valid" else int(module.padding[axis])
