"""The oracle: what the cut network must compute, told by the whole network with the removed channels silenced.

Cutting a channel and silencing it are the same thing if every layer that makes, passes or reads it agrees on where it
lies. Silencing needs no bookkeeping of the graph's index maps beyond single layers, so the two are independent
enough to check one another. Norms over several channels take their statistics over the kept ones only, as after the
cut.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from compressor.core.groups import ChannelGroup, Role


@contextmanager
def silenced(
    model: nn.Module, groups: Sequence[ChannelGroup], keep: Mapping[str, Sequence[int]], cut_model: nn.Module
) -> Iterator[None]:
    """While open, `model` computes as if the removed channels did not exist; weights are not touched.

    Args:
        model: the whole network.
        groups: all groups that lose channels.
        keep: kept channels per group.
        cut_model: the cut network; only its norms over several channels are borrowed, for their sizes.
    """
    makes: dict[str, set[int]] = {}
    reads: dict[str, set[int]] = {}
    for group in groups:
        kept = set(keep.get(group.name, range(group.n_channels)))
        for member in group.members:
            gone = {p for p, c in zip(member.position, member.channel, strict=True) if c not in kept}
            sides = reads if member.role is Role.CONSUMER else makes
            sides.setdefault(member.layer, set()).update(gone)
    modules = dict(model.named_modules())
    cut_modules = dict(cut_model.named_modules())
    with ExitStack() as stack:
        for layer, gone in reads.items():
            hook = modules[layer].register_forward_pre_hook(_silence_input(modules[layer], sorted(gone)))
            stack.callback(hook.remove)
        for layer, gone in makes.items():
            module = modules.get(layer)
            if module is None or not gone:  # a bare parameter: its layer's neighbours silence the channel
                continue
            if isinstance(module, (nn.LayerNorm, nn.GroupNorm)):
                handle = module.register_forward_hook(_norm_over_kept(module, cut_modules[layer], gone))
            else:
                handle = module.register_forward_hook(_silence_output(module, sorted(gone)))
            stack.callback(handle.remove)
        yield


def _channel_axis(module: nn.Module, tensor: Tensor) -> int:
    if isinstance(module, _ConvNd):
        return tensor.dim() - 1 - len(module.kernel_size)
    if isinstance(module, (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.PReLU)):
        return 1
    return tensor.dim() - 1


def _zeroed(tensor: Tensor, axis: int, gone: Sequence[int]) -> Tensor:
    return tensor.index_fill(axis, torch.tensor(gone, device=tensor.device), 0)


def _silence_output(module: nn.Module, gone: Sequence[int]) -> Any:
    def hook(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        return _zeroed(output, _channel_axis(module, output), gone)

    return hook


def _silence_input(module: nn.Module, gone: Sequence[int]) -> Any:
    def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        first = args[0]
        return (_zeroed(first, _channel_axis(module, first), gone), *args[1:]) if gone else args

    return hook


def _norm_over_kept(norm: nn.LayerNorm | nn.GroupNorm, cut_norm: nn.Module, gone: set[int]) -> Any:
    whole = norm.num_channels if isinstance(norm, nn.GroupNorm) else norm.normalized_shape[-1]
    kept = torch.tensor([position for position in range(whole) if position not in gone])
    smaller = copy.copy(cut_norm)  # its sizes, and of the whole norm's weights those that are kept
    smaller._parameters = {name: _part(parameter, kept) for name, parameter in norm._parameters.items()}

    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        # A LayerNorm's subclass may normalise axis 1 of images (channels first).
        first = isinstance(module, nn.GroupNorm) or args[0].shape[-1] != whole or "2d" in type(module).__name__.lower()
        axis = 1 if first else output.dim() - 1
        index = kept.to(output.device)
        return torch.zeros_like(output).index_copy(axis, index, smaller(args[0].index_select(axis, index)))

    return hook


def _part(parameter: nn.Parameter | None, kept: Tensor) -> nn.Parameter | None:
    if parameter is None:
        return None
    return nn.Parameter(parameter.detach().index_select(0, kept.to(parameter.device)), requires_grad=False)
