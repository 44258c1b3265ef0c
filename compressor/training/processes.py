"""Training in one process or in many (torchrun, accelerate launch): what they must agree on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, broadcast, broadcast_object_list
from torch import Tensor, nn

from compressor.training.checkpoint import Position, hook_states, restore_model, tensors_of
from compressor.training.hooks import Hook

T = TypeVar("T")


def joined(device: str) -> Accelerator:
    """Joins the other processes, if there are any; each batch is shared among them, so a recipe means the same.

    The accelerator's own `device` is this process's: with several processes on "cuda", `cuda:<local rank>`.
    """
    place = torch.device(device)
    if place.type == "cuda" and place.index is not None:
        torch.cuda.set_device(place)
    sharing = DataLoaderConfiguration(split_batches=True)
    return Accelerator(cpu=place.type == "cpu", mixed_precision="no", dataloader_config=sharing)


def restore_everywhere(
    saved: tuple[Position, dict[str, Tensor]] | None,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    hooks: Sequence[Hook] = (),
) -> Position:
    """Gives all processes the state that the main one has read (None in the others); returns the position."""
    names = [None] if saved is None else [(saved[0], sorted(saved[1]))]
    broadcast_object_list(names)
    if names[0] is None:
        return Position()
    position, tensor_names = names[0]
    if saved is not None:
        restore_model(model, saved[1])
    same_everywhere(model)
    for name, parameter in model.named_parameters():
        keys = [n.removeprefix(f"optimizer.{name}.") for n in tensor_names if n.startswith(f"optimizer.{name}.")]
        for key in (key for key in keys if "." not in key):
            contiguous = torch.empty(parameter.shape, dtype=parameter.dtype, device=parameter.device)
            if saved is not None:
                contiguous.copy_(saved[1][f"optimizer.{name}.{key}"])
            broadcast(contiguous)
            # In the parameter's own memory layout, as the optimizer would have made it.
            optimizer.state[parameter][key] = torch.empty_like(parameter, requires_grad=False).copy_(contiguous)
    states = [hook_states(saved[1], len(hooks)) if saved is not None else None]
    broadcast_object_list(states)
    for hook, state in zip(hooks, states[0] or (), strict=True):
        hook.restore(state)
    return position


def agreed(value: T) -> T:
    """What the main process found, in all processes."""
    values = [value]
    broadcast_object_list(values)
    return values[0]


def same_everywhere(model: nn.Module) -> None:
    """The main process's weights and buffers in all processes; running statistics differ after the last step."""
    with torch.no_grad():
        for tensor in tensors_of(model).values():
            contiguous = tensor.detach().contiguous()
            broadcast(contiguous)
            tensor.copy_(contiguous)
