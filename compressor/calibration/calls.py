"""What layers are given and return while a model runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

from torch import Tensor, nn

from exporters.signature import ExampleInputs

Called = Callable[[str, nn.Module, Tensor, Tensor], None]  # (name, layer, what it was given, what it returned)


class Enough(Exception):
    """What was to be seen of a pass was seen; the rest of it is not needed."""


@contextmanager
def watched(model: nn.Module, names: Iterable[str], called: Called) -> Iterator[None]:
    """Inside, each call of one of these layers is told to `called`; it ends the pass by raising `Enough`."""
    with ExitStack() as stack:
        for name in names:
            hook = partial(_tell, name, called)
            stack.callback(model.get_submodule(name).register_forward_hook(hook, with_kwargs=True).remove)
        yield


def run(model: nn.Module, inputs: ExampleInputs) -> None:
    """One pass, or as much of it as somebody wants to see."""
    with suppress(Enough):
        inputs.call(model)


def calls_in_pass(model: nn.Module, name: str, n_calls: int, inputs: ExampleInputs) -> list[tuple[Tensor, Tensor]]:
    """What the first `n_calls` calls of one layer are given and return; the pass ends there."""
    seen: list[tuple[Tensor, Tensor]] = []

    def called(_name: str, _layer: nn.Module, given: Tensor, output: Tensor) -> None:
        seen.append((given, output))
        if len(seen) == n_calls:
            raise Enough

    with watched(model, [name], called):
        run(model, inputs)
    return seen


def first_given(args: Sequence[Tensor], kwargs: Mapping[str, Tensor]) -> Tensor:
    """What a layer of one input is called with, by position or by name."""
    return args[0] if args else next(iter(kwargs.values()))


def _tell(
    name: str, called: Called, module: nn.Module, args: tuple[Tensor, ...], kwargs: Mapping[str, Tensor], output: Tensor
) -> None:
    called(name, module, first_given(args, kwargs), output)
