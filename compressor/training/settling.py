"""What a training settles from the machine before its first step; its checkpoint keeps it, to go on as it began."""

from __future__ import annotations

from dataclasses import replace

import torch
from accelerate import Accelerator
from torch import nn

from compressor.core.errors import InvalidOption
from compressor.core.progress import Progress
from compressor.training import compiling
from compressor.training.checkpoint import Position
from compressor.training.parts import free_bytes, parts_needed, told
from compressor.training.processes import agreed
from compressor.training.recipe import ALWAYS, AUTO, NEVER, Recipe
from compressor.training.update import Update

OWNER = "training"


def settle_precision(recipe: Recipe, device: torch.device) -> Recipe:
    """The recipe with "float32" or "bfloat16" in the place of "auto"; the same in all processes."""
    if recipe.precision != AUTO:
        return recipe
    return replace(recipe, precision=agreed("bfloat16" if has_bfloat16(device) else "float32"))


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for it; without, it is slower than float32 and less exact."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Asked of PyTorch's own detection, where this version has it.
    known = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return device.type == "cpu" and any(ask() for ask in known if ask is not None)


def settle_parts(
    position: Position,
    recipe: Recipe,
    model: nn.Module,
    n_images: int,
    bytes_an_image: float,
    accelerator: Accelerator,
    listener: Progress,
) -> None:
    """In how many parts a step's images go through the network, unless the run began with some already.

    Args:
        position: is told.
        n_images: a step, of this process.
        bytes_an_image: kept for backward.
    """
    if position.n_parts:
        return
    position.n_parts = recipe.accumulate
    if recipe.accumulate:
        return
    free = free_bytes(accelerator.device)
    if free is not None and accelerator.device.type == "cpu":  # which the processes share
        free //= accelerator.num_processes
    position.n_parts = agreed(parts_needed(n_images, bytes_an_image, free))
    if reason := told(n_images, position.n_parts, bytes_an_image, free, model):
        listener.note(reason)


def settle_calls(
    position: Position,
    recipe: Recipe,
    wrapped: nn.Module,
    update: Update,
    n_steps: int,
    n_images: int,
    accelerator: Accelerator,
    listener: Progress,
) -> nn.Module:
    """The model, or what `torch.compile` makes of it; the update's teacher is replaced as well.

    Args:
        position: is told.
        n_steps: that are still to come.
        n_images: a step, of this process.

    Raises:
        InvalidOption: it is always to be compiled, and cannot be.
    """
    impossible = update.hooks_into_layers or accelerator.num_processes > 1
    if impossible and recipe.compile == ALWAYS:
        allowed = "auto or never where feature maps are compared or mixed, and in several processes"
        raise InvalidOption(OWNER, "--compile", allowed, recipe.compile)
    if impossible or recipe.compile == NEVER:
        return wrapped
    if position.compiled is not None:
        calls = compiling.as_before(wrapped, update.teacher, position.compiled)
    else:
        inputs = update.some_inputs(n_images // position.n_parts)
        calls = compiling.try_compiled(
            wrapped, update.teacher, inputs, update.autocast, n_steps * position.n_parts, recipe.compile, listener
        )
    position.compiled = list(calls.compiled)
    update.teacher = calls.teacher
    return calls.model
