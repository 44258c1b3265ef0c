"""What the layers of a student and a teacher return on the way to their scores, for losses that compare it.

    layers = stage_layers([student, teacher], inputs)          # once: the same names in both
    with recording(student, layers) as seen, recording(teacher, layers) as shown:
        ...                                                    # a forward pass of each, the teacher's without gradient
        loss = feature_loss(seen.take(), shown.take(), generator)

A student that is a pruned copy has the layers of its teacher under the same names, with fewer channels.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from compressor.core.errors import InvalidOption, UnsupportedModel

OWNER = "features"
Size = tuple[int, int]  # height, width


class FeatureLoss(Protocol):
    """How far a student's feature maps are from its teacher's; a frozen dataclass whose fields are its options."""

    summary: ClassVar[str]  # one line
    paper: ClassVar[str]  # authors, venue, year, arXiv
    use_when: ClassVar[str]  # who should take this one
    needs: ClassVar[frozenset[str]]  # of "labels", "teacher", "features"

    def __call__(
        self, student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor], generator: torch.Generator
    ) -> Tensor:
        """Scalar, a mean over the images, summed over the pairs of maps.

        Args:
            student_maps: (N, C, H, W) each.
            teacher_maps: as many, of the same images; other channel counts and sizes are allowed, no gradient flows.
            generator: on the CPU; all the randomness. Several processes must hand in equal ones.
        """


class Recording:
    """The maps that named layers returned last."""

    def __init__(self, layers: Sequence[str]) -> None:
        self.layers = tuple(layers)
        self._returned: dict[str, Any] = {}

    def note(self, layer: str, _module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        """Remembers what a layer returns; a layer that is called again replaces it."""
        self._returned[layer] = output

    def take(self) -> tuple[Tensor, ...]:
        """The maps (N, C, H, W) in the order of `layers`; forgets them, so that their graph can be freed.

        Raises:
            UnsupportedModel: a layer was not called since the last `take`, or returned no feature map.
        """
        returned = dict(self._returned)
        self.forget()
        for layer in self.layers:
            if not _is_map(returned.get(layer)):
                got = f"returned {spelled(returned[layer])}" if layer in returned else "was not called"
                raise UnsupportedModel(
                    f"{OWNER}: layer '{layer}' must return a feature map (N, C, H, W), but {got}. Name another layer."
                )
        return tuple(returned[layer] for layer in self.layers)

    def forget(self) -> None:
        """Lets go of every map."""
        self._returned.clear()


@contextmanager
def recording(model: nn.Module, layers: Sequence[str]) -> Iterator[Recording]:
    """Notes what each of the named layers returns while this is open; the model is as before afterwards.

    >>> model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU())
    >>> with recording(model, ["0"]) as seen:
    ...     _ = model(torch.ones(4, 1, 3, 3))
    ...     [tuple(maps.shape) for maps in seen.take()]
    [(4, 2, 3, 3)]

    Raises:
        InvalidOption: the model has no layer of a name.
    """
    recorded = Recording(layers)
    with ExitStack() as stack:
        stack.callback(recorded.forget)
        for layer in recorded.layers:
            handle = layer_named(model, layer, OWNER).register_forward_hook(partial(recorded.note, layer))
            stack.callback(handle.remove)
        yield recorded


def layer_named(model: nn.Module, layer: str, owner: str) -> nn.Module:
    """The module of this name.

    Raises:
        InvalidOption: there is none; the nearest name is suggested.
    """
    known = dict(model.named_modules(remove_duplicate=False))
    if layer not in known:
        near = difflib.get_close_matches(layer, known, n=1)
        step = f"Did you mean '{near[0]}'?" if near else ""
        raise InvalidOption(owner, "layers", "names of the model's layers", layer, step)
    return known[layer]


def spelled(output: Any) -> str:
    """What a layer returned, for sentences."""
    return f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"


def stage_layers(models: Sequence[nn.Module], inputs: Tensor) -> tuple[str, ...]:
    """The last layer of each stage of the first model that the others have as well, in the order of execution.

    A stage is what works on maps of one size, a convolution among it. A block that makes maps smaller belongs to the
    stage that it leads to, with all that is in it. Maps of one pixel are no stage. The models run once in eval mode,
    without gradient.

    >>> def stages(width):
    ...     return nn.Sequential(
    ...         nn.Conv2d(1, width, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(width, 3, 1), nn.ReLU(), nn.Flatten()
    ...     )
    >>> stage_layers([stages(4), stages(8)], torch.ones(1, 1, 10, 10))
    ('1', '4')

    Raises:
        UnsupportedModel: they have no such layer in common.
    """
    sizes, *others = [_map_sizes(model, inputs) for model in models]
    layers = [layer for layer in _ends_of_stages(models[0], sizes) if all(layer in other for other in others)]
    if not layers:
        raise UnsupportedModel(
            f"{OWNER}: in each model, layers of the same names must return maps (N, C, H, W) of more than one pixel, "
            "but none does. Compare the scores instead, by distillation."
        )
    return tuple(layers)


def _ends_of_stages(model: nn.Module, sizes: dict[str, tuple[Size | None, Size]]) -> list[str]:
    """The last layer that returns maps of each size, unless it is the beginning of a block that makes them smaller."""
    beginnings: set[str] = set()
    for name, (given, returned) in sizes.items():
        inside = {layer: size for layer, (_, size) in sizes.items() if layer.startswith(f"{name}.")}
        # A plain Sequential is the main path itself, cut in pieces; more than one change of size is a whole network.
        is_block = type(model.get_submodule(name)) is not nn.Sequential and {*inside.values()} <= {given, returned}
        if is_block and given != returned:
            beginnings |= {layer for layer, size in inside.items() if size == given}
    # Tokens and maps whose channels come last have four axes, too, but no convolution returns their sizes.
    convolved = {size for layer, (_, size) in sizes.items() if isinstance(model.get_submodule(layer), nn.Conv2d)}
    last = {size: layer for layer, (_, size) in sizes.items() if size in convolved and layer not in beginnings}
    return [layer for layer in sizes if layer in last.values()]


def _map_sizes(model: nn.Module, inputs: Tensor) -> dict[str, tuple[Size | None, Size]]:
    """{layer: size of the map that it was given, and that it returned} in the order of the (last) return."""
    sizes: dict[str, tuple[Size | None, Size]] = {}

    def note(name: str, _module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        sizes.pop(name, None)
        if _is_map(output) and output.shape[-2:].numel() > 1:
            given = _size(args[0]) if args and _is_map(args[0]) else None
            sizes[name] = given, _size(output)

    modes = {module: module.training for module in model.modules()}
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if name:
                stack.callback(module.register_forward_hook(partial(note, name)).remove)
        for module, training in modes.items():
            stack.callback(setattr, module, "training", training)
        model.eval()
        with torch.no_grad():
            model(inputs)
    return sizes


def _is_map(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 4


def _size(maps: Tensor) -> Size:
    return maps.shape[-2], maps.shape[-1]
