"""Channels that are silent while training goes on, and that can come back as they were.

A silent channel is zero in everything that makes it, passes it on or reads it, as if it had been cut. No gradient leads
back from there (a ReLU has no slope at 0), so what it was is remembered: filters, scales and shifts, running statistics
and what reads it come back with the values of the moment at which they fell silent.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compressor.core.groups import ChannelGroup, Role
from compressor.surgery.masking import is_product
from compressor.training.channel_hook import ChannelHook
from compressor.training.hooks import Moment


@dataclass(frozen=True, eq=False)
class _Place:
    """The channels of one group on one axis of a tensor."""

    group: str
    axis: int
    position: Tensor  # (n_positions,) int64, on the axis
    channel: Tensor  # (n_positions,) int64: group channel of each


_Places = dict[str, list[_Place]]  # by the tensor's name; of shared tensors, the first


class Masks:
    """Which channels of some groups are live, and the weights of a model that follow from it.

    Attributes:
        live: {group: (n_channels,) bool, on the CPU}.
    """

    def __init__(self, model: nn.Module, groups: Sequence[ChannelGroup]) -> None:
        """All channels are live."""
        self._model = model
        self._parameters = dict(model.named_parameters())
        self._made = _places(model, groups, (Role.PRODUCER, Role.CHANNELWISE))
        self._read = _places(model, groups, (Role.CONSUMER,))
        self._silent: dict[str, Tensor] = {}  # True where an entry is silent, in a shape that broadcasts
        self._remembered: dict[str, Tensor] = {}  # what these entries were; 0 elsewhere
        self.live = {group.name: torch.ones(group.n_channels, dtype=torch.bool) for group in groups}

    @torch.no_grad()
    def choose(self, live: Mapping[str, Tensor]) -> None:
        """Silences what is not live from now on, and brings back what was silent and no longer is."""
        self.live = {**self.live, **live}
        before, self._silent = self._silent, self._silences()
        for name in before.keys() | self._silent.keys():
            tensor = self._tensor(name)
            nowhere = torch.zeros((), dtype=torch.bool, device=tensor.device)
            was, is_now = (known.get(name, nowhere).to(tensor.device) for known in (before, self._silent))
            whole = tensor
            if name in self._remembered:
                whole = torch.where(was, self._remembered.pop(name).to(tensor.device), tensor)
            if name in self._silent:
                self._remembered[name] = torch.where(is_now, whole, 0)
            # Running statistics go on by themselves where they are silent.
            tensor.copy_(torch.where(is_now, 0 if name in self._parameters else tensor, whole))

    @torch.no_grad()
    def silence(self) -> None:
        """What is silent becomes zero again, after an optimizer whose momentum or decay has moved it."""
        for name in self._silent.keys() & self._parameters.keys():
            parameter = self._parameters[name]
            parameter.masked_fill_(self._silent[name].to(parameter.device), 0)

    @contextmanager
    def as_they_were(self) -> Iterator[nn.Module]:
        """The model in evaluation mode, with what made the silent channels as it was; afterwards all is as found.

        They read live channels only, so that they are seen as they would be in the network that is left.
        """
        with torch.no_grad(), evaluating(self._model):
            try:
                for name in self._remembered.keys() & self._parameters.keys() & self._made.keys():
                    parameter = self._parameters[name].detach()
                    back = self._laid(self._made, name) & ~self._laid(self._read, name)
                    parameter.copy_(torch.where(back, self._remembered[name].to(parameter.device), parameter))
                yield self._model
            finally:
                self.silence()

    def share_silent(self) -> float:
        """Of all channels."""
        return sum(int((~live).sum()) for live in self.live.values()) / sum(map(len, self.live.values()))

    def state(self) -> dict[str, Tensor]:
        """Everything that must be kept, by name."""
        live = {f"live.{name}": mask for name, mask in self.live.items()}
        return live | {f"was.{name}": tensor for name, tensor in self._remembered.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Takes over what `state` gave; the weights are those of that moment already."""
        self.live = {name: state[f"live.{name}"].to(mask, copy=True) for name, mask in self.live.items()}
        self._silent = self._silences()
        self._remembered = {name: state[f"was.{name}"].to(self._tensor(name), copy=True) for name in self._silent}

    def _silences(self) -> dict[str, Tensor]:
        found = {}
        for name in self._made.keys() | self._read.keys():
            silent = self._laid(self._made, name) | self._laid(self._read, name)
            if bool(silent.any()):
                found[name] = silent
        return found

    def _laid(self, places: _Places, name: str) -> Tensor:
        """True where entries of a tensor belong to silent channels in these places, in a shape that broadcasts."""
        tensor = self._tensor(name)
        silent = torch.zeros([1] * tensor.dim(), dtype=torch.bool)
        for place in places.get(name, ()):
            line = torch.zeros(tensor.shape[place.axis], dtype=torch.bool)
            line[place.position] = ~self.live[place.group][place.channel]
            silent = silent | line.view([-1 if axis == place.axis else 1 for axis in range(tensor.dim())])
        return silent.to(tensor.device)

    def _tensor(self, name: str) -> Tensor:
        # Moving a model replaces its buffers, so that they are looked up each time.
        parameter = self._parameters.get(name)
        return self._model.get_buffer(name) if parameter is None else parameter.detach()


class MaskingHook(ChannelHook):
    """A schedule that chooses which channels are live; between its choices the silent ones stay zero."""

    def __init__(
        self, options: object, model: nn.Module, groups: Sequence[ChannelGroup], left_alone: Mapping[str, str]
    ) -> None:
        super().__init__(options, left_alone)
        self.groups = list(groups)
        self.masks = Masks(model, groups)

    @abstractmethod
    def importance(self) -> Mapping[str, Tensor]:
        """{group: (n_channels,)}: what the live channels are worth, comparable between groups."""

    def after_step(self, moment: Moment) -> None:
        self.masks.silence()

    def finish(self) -> None:
        self.masks.silence()  # an average of earlier weights may have taken their place

    def channels(self) -> dict[str, Tensor]:
        worth, tiny = self.importance(), torch.finfo(torch.float32).tiny
        return {name: worth[name].float().cpu().clamp_min(tiny) * live for name, live in self.masks.live.items()}

    def sparsity(self) -> float:
        return self.masks.share_silent()

    def state(self) -> Mapping[str, Tensor]:
        return self.masks.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.masks.restore(state)


def maskable(groups: Iterable[ChannelGroup], mixed: bool) -> tuple[list[ChannelGroup], dict[str, str]]:
    """Groups whose silent channels are as good as cut, and {group: why not} of the others; with `mixed`, all groups."""
    found, left_alone = [], {}
    for group in groups:
        operator = _mixing(group)
        if operator and not mixed:
            left_alone[group.name] = (
                f"{operator} reads its channels together and would count silent ones; mixed=True masks it all the same."
            )
        else:
            found.append(group)
    return found, left_alone


def _mixing(group: ChannelGroup) -> str:
    """An operator that sees whether channels are zero or gone; empty if there is none."""
    operators = (reading.operator for reading in group.readings)
    return next((name for name in operators if not is_product(name)), "")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; modes and torch's random state are put back afterwards."""
    modes = {module: module.training for module in model.modules()}
    with torch.random.fork_rng([]):
        try:
            model.eval()
            yield
        finally:
            for module, training in modes.items():
                module.training = training


def _places(model: nn.Module, groups: Sequence[ChannelGroup], roles: Sequence[Role]) -> _Places:
    """Every place once, also where modules or tensors are shared."""
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    known = dict(tensors)
    first = {id(tensor): name for name, tensor in reversed(tensors)}
    found: _Places = {}
    for group in groups:
        axes = {axis: None for member in group.members if member.role in roles for axis in member.axes}
        for axis in axes:
            if axis.channel and axis.tensor in known:
                place = _Place(group.name, axis.axis, torch.tensor(axis.position), torch.tensor(axis.channel))
                found.setdefault(first[id(known[axis.tensor])], []).append(place)
    return found
