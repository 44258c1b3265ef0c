"""Where the sizes that modules keep in their attributes (num_heads, head_dim, pieces of a split) arrive.

While the model runs, the integers in its modules' attributes are replaced by integers that know where they come from.
A call that is given one says which axis it counts: the second size of a view is the second axis of its result. So a
window size of 4 is not taken for 4 heads. Arithmetic gives plain integers again, so it is not seen what they count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from compressor.graph.arrivals import arrivals
from compressor.graph.axis import Axis

_NOT_SIZES = ("idx", "index", "_id")  # endings of attributes that number things and do not count them


class Attribute(NamedTuple):
    """An integer that a module keeps."""

    layer: str
    name: str
    entry: int | None  # of a tuple or a list


class Marked(int):
    """An integer that knows which attribute it was read from."""

    attribute: Attribute
    reader: object  # the trace that marked it; caches of libraries may keep integers of an earlier one

    def __eq__(self, other: object) -> bool:
        self._note_if_equal(other)
        return int(self) == other

    def __ne__(self, other: object) -> bool:
        self._note_if_equal(other)
        return int(self) != other

    def _note_if_equal(self, other: object) -> None:
        if isinstance(self.reader, Marks) and isinstance(other, int) and int(self) == int(other):
            self.reader.compared.add(self.attribute)

    __hash__ = int.__hash__

    def __neg__(self) -> Marked:
        return marked(-int(self), self.attribute, self.reader)

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (int(self),)


def marked(value: int, attribute: Attribute, reader: object) -> Marked:
    """`value` with its origin."""
    result = Marked(value)
    result.attribute, result.reader = attribute, reader
    return result


def numbers(module: nn.Module) -> Iterator[tuple[str, int | None, int]]:
    """(attribute, entry of a tuple or a list, value) of the integers above 1 that a module keeps."""
    for name, value in vars(module).items():
        if name.startswith("_") or name.endswith(_NOT_SIZES) or isinstance(value, bool):
            continue
        if isinstance(value, int) and value > 1:
            yield name, None, value
        elif isinstance(value, (tuple, list)) and value and all(type(each) is int for each in value):
            yield from ((name, i, each) for i, each in enumerate(value) if each > 1)


def is_pytorchs(module: nn.Module) -> bool:
    """Whether the class is PyTorch's own: what these pass on is not seen by a mode."""
    return type(module).__module__.startswith("torch.nn.")


class Marks(TorchFunctionMode):
    """While it is open, calls that are given integers from attributes say which axes these count.

    Whoever opens it puts the modules' attributes back.
    """

    def __init__(self, model: nn.Module, dims_of: Callable[[Tensor], list[Axis | None]], stack: Sequence[str]) -> None:
        """
        Args:
            model: to be run once.
            dims_of: the axes of a tensor.
            stack: paths of the modules being executed, innermost last.
        """
        super().__init__()
        self.counted: dict[Attribute, list[Axis]] = {}  # none: it arrived where it counts no axis that is followed
        self.compared: set[Attribute] = set()  # found equal to something, as in a check of what the module is given
        self._model, self._dims_of, self._stack = model, dims_of, stack
        self._put_on: list[tuple[nn.Module, Marked]] = []

    def __enter__(self) -> Marks:
        for layer, module in self._model.named_modules():
            if is_pytorchs(module):
                continue
            for name, entry, value in list(numbers(module)):
                mark = marked(value, Attribute(layer, name, entry), self)
                whole = vars(module)[name]
                vars(module)[name] = mark if entry is None else _with_entry(whole, entry, mark)
                self._put_on.append((module, mark))
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        # What the forward pass writes before it reads it (a window no larger than the image) needs nobody to set it.
        for module, mark in self._put_on:
            now = vars(module).get(mark.attribute.name)
            if mark is not now and not (isinstance(now, (tuple, list)) and any(each is mark for each in now)):
                self.counted.setdefault(mark.attribute, [])

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        marks = [leaf for leaf in _leaves((args, given)) if isinstance(leaf, Marked) and self._is_near(leaf)]
        dims = self._dims_of(args[0]) if marks and args and isinstance(args[0], Tensor) else []
        result = func(*args, **given)
        found = arrivals(getattr(func, "__name__", ""), args, given, dims, result, self._dims_of) if marks else None
        if found is not None:
            for mark in marks:
                axes = [axis for value, axis in found if value is mark and axis is not None and axis.size == abs(mark)]
                self.counted.setdefault(mark.attribute, []).extend(axes)
        return result

    def _is_near(self, mark: Marked) -> bool:
        """Whether it was marked in this trace, by a module that calls, or is called by, the one being executed."""
        layer, active = mark.attribute.layer, self._stack[-1] if self._stack else ""
        inside = f"{layer}.".startswith(f"{active}.") or f"{active}.".startswith(f"{layer}.")
        return mark.reader is self and (inside or not layer or not active)


def _leaves(value: Any) -> Iterator[Any]:
    for leaf in tree_leaves(value):
        if isinstance(leaf, slice):
            yield from (leaf.start, leaf.stop, leaf.step)
        else:
            yield leaf


def _with_entry(whole: Any, entry: int, mark: Marked) -> Any:
    items = [*whole[:entry], mark, *whole[entry + 1 :]]
    if isinstance(whole, list):
        return items
    return type(whole)(*items) if hasattr(whole, "_fields") else type(whole)(items)
