"""What each channel of a group looks like on real images: its feature maps, as the layers see them that read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from compressor.core.errors import DataError
from compressor.core.groups import ChannelGroup, GroupMember, Role
from compressor.core.protocols import MethodContext
from compressor.methods._passes import as_found

# Maps (n images, positions, H, W) -> one value per position, the mean over the images.
Formula = Callable[[Tensor], Tensor]
CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


@dataclass
class _View:
    """The group's channels on one tensor of images."""

    module: nn.Module
    reads: bool  # the tensor is what the module is given; else what it returns
    position: Tensor  # on axis 1
    channel: Tensor  # of each position
    total: Tensor  # per position: the sum over images
    n_images: int = 0

    def note(self, tensor: object, formula: Formula) -> None:
        """Adds one batch; tensors that are no images are passed over."""
        if isinstance(tensor, Tensor) and tensor.dim() == 4:
            maps = tensor.detach().double().index_select(1, self.position.to(tensor.device))
            self.total += formula(maps).cpu() * len(maps)
            self.n_images += len(maps)


def map_scores(
    method: str, groups: Sequence[ChannelGroup], context: MethodContext, n_images: int, formula: Formula
) -> Mapping[str, Tensor]:
    """{group: mean of `formula` over at most `n_images` images, positions of a channel, and layers (n_channels,)}.

    Maps are taken where convolutions read them: behind the norm and the activation. A group that none reads is seen
    where the first of its norms, or else the layer that makes it, returns it. Groups that are no images are left out.

    Raises:
        DataError: there are no images.
    """
    if context.batches is None:
        raise DataError(f"{method}: images are needed, but there are none. Give --data; labels are not read.")
    views = {group.name: _views(context.model, group) for group in groups}
    every = [view for found in views.values() for view in found]
    n_seen = 0
    with as_found(context.model, context.seed), torch.no_grad(), ExitStack() as stack:
        for view in every:
            stack.callback(_watch(view, formula).remove)
        for inputs in first_images(context.batches, n_images):
            context.model(inputs.to(next(context.model.parameters()).device))
            n_seen += len(inputs)
    if not n_seen:
        raise DataError(f"{method}: at least one image is needed, but the data holds none. Check --data.")
    scores = {group.name: _joined(group, views[group.name]) for group in groups}
    return {name: score.float() for name, score in scores.items() if score is not None}


def _views(model: nn.Module, group: ChannelGroup) -> list[_View]:
    modules = dict(model.named_modules())
    readers = [m for m in group.having(Role.CONSUMER) if isinstance(modules.get(m.layer), CONVOLUTIONS)]
    if readers:
        return [_view(model, member, reads=True) for member in readers]
    makers = [m for role in (Role.CHANNELWISE, Role.PRODUCER) for m in group.having(role) if m.layer in modules]
    return [_view(model, member, reads=False) for member in makers[:1]]


def _view(model: nn.Module, member: GroupMember, reads: bool) -> _View:
    position, channel = torch.tensor(member.position), torch.tensor(member.channel)
    return _View(model.get_submodule(member.layer), reads, position, channel, torch.zeros(len(position)).double())


def _watch(view: _View, formula: Formula) -> Any:
    if view.reads:
        return view.module.register_forward_pre_hook(
            lambda _module, args: view.note(args[0] if args else None, formula)
        )
    return view.module.register_forward_hook(lambda _module, _args, output: view.note(output, formula))


def first_images(batches: Any, n_images: int) -> Iterator[Tensor]:
    """The inputs of the first batches, `n_images` together; each item is a tensor, or one with labels."""
    left = n_images
    for item in batches:
        inputs = item if isinstance(item, Tensor) else item[0]
        yield inputs[:left]
        left -= len(inputs)
        if left <= 0:
            return


def _joined(group: ChannelGroup, views: Sequence[_View]) -> Tensor | None:
    total, n_places = torch.zeros(2, group.n_channels, dtype=torch.float64)
    for view in views:
        if view.n_images:
            total.index_add_(0, view.channel, view.total / view.n_images)
            n_places += torch.bincount(view.channel, minlength=group.n_channels)
    return total / n_places if bool((n_places > 0).all()) else None
