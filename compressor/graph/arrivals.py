"""Which axis each integer counts that a call is given: the second size of a view is the second axis of its result.

One small function per way in which calls are told sizes, by the name of the call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor

from compressor.graph.axis import Axis, part

Arrival = Iterator[tuple[Any, Axis | None]]  # integers as they were given, and the axis that each counts


def arrivals(
    call: str, args: Any, kwargs: Any, dims: Sequence[Axis | None], result: Any, dims_of: Callable[[Tensor], Any]
) -> list[tuple[Any, Axis | None]] | None:
    """The integers among the arguments, and the axis that each counts; None where that is not known of this call.

    Args:
        call: its name ("view").
        args, kwargs: as it was called.
        dims: axes of the first argument, before the call.
        result: what it returned.
        dims_of: the axes of a tensor.
    """
    if call not in _CALLS:
        return None
    try:
        return list(_CALLS[call](args, kwargs, dims, result, dims_of))
    except (IndexError, KeyError, TypeError, ValueError, ZeroDivisionError):  # called in another way than usual
        return None


def _shape(args: Any, kwargs: Any, _dims: Any, result: Tensor, dims_of: Any) -> Arrival:
    sizes = [each for each in args if not isinstance(each, Tensor)] or [kwargs.get("size", kwargs.get("shape", ()))]
    if len(sizes) >= 1 and isinstance(sizes[0], (tuple, list)):
        sizes = list(sizes[0])  # further arguments are no sizes
    found = dims_of(result)
    yield from zip(sizes, found, strict=False) if len(sizes) == len(found) else ()


def _unflatten(args: Any, kwargs: Any, dims: Any, result: Tensor, dims_of: Any) -> Arrival:
    number = (args[1] if len(args) > 1 else kwargs["dim"]) % len(dims)
    yield from zip(args[2] if len(args) > 2 else kwargs["sizes"], dims_of(result)[number:], strict=False)


def _split(args: Any, kwargs: Any, dims: Any, result: Sequence[Tensor], dims_of: Any) -> Arrival:
    sizes = args[1] if len(args) > 1 else kwargs.get("split_size_or_sections", kwargs.get("split_sizes", ()))
    number = (args[2] if len(args) > 2 else kwargs.get("dim", 0)) % len(dims)
    pieces = [dims_of(piece)[number] for piece in result]
    yield from zip(sizes if isinstance(sizes, (tuple, list)) else [sizes] * len(pieces), pieces, strict=False)


def _narrow(args: Any, kwargs: Any, dims: Any, result: Tensor, dims_of: Any) -> Arrival:
    given = dict(zip(("dim", "start", "length"), args[1:], strict=False)) | kwargs
    number, start, length = given["dim"], given["start"], given["length"]
    yield length, dims_of(result)[number % len(dims)]
    yield start, _up_to(dims[number % len(dims)], start)


def _index(args: Any, _kwargs: Any, dims: Any, _result: Any, _dims_of: Any) -> Arrival:
    index = args[1] if isinstance(args[1], tuple) else (args[1],)
    if any(isinstance(each, (Tensor, list)) for each in index):
        return
    n_named = sum(each is not None and each is not Ellipsis for each in index)
    number = 0
    for each in index:
        if each is Ellipsis:
            number += len(dims) - n_named
        elif each is not None:
            if isinstance(each, slice) and number < len(dims):
                yield each.start, _up_to(dims[number], each.start)
                yield each.stop, _up_to(dims[number], each.stop)
            number += 1


def _normalized(args: Any, kwargs: Any, dims: Any, _result: Any, _dims_of: Any) -> Arrival:
    shape = args[1] if len(args) > 1 else kwargs["normalized_shape"]
    yield from zip(reversed(shape), reversed(dims), strict=False)


def _up_to(whole: Axis | None, number: Any) -> Axis | None:
    """The positions before `number`, or the last ones where it is negative."""
    if whole is None or not isinstance(number, int) or not 0 < abs(number) < whole.size:
        return whole if whole is not None and number == whole.size else None
    return part(whole, 0, number, "") if number > 0 else part(whole, whole.size + number, whole.size, "")


_CALLS: dict[str, Callable[..., Arrival]] = {
    **dict.fromkeys(
        (
            "view", "reshape", "expand", "broadcast_to", "zeros", "ones", "empty", "full", "new_zeros", "new_ones",
            "new_empty", "new_full", "rand", "randn",
        ),
        _shape,
    ),
    "unflatten": _unflatten,
    **dict.fromkeys(("split", "split_with_sizes"), _split),
    "narrow": _narrow,
    "__getitem__": _index,
    "roll": lambda *_: iter(()),  # how far, and along which axis
    "layer_norm": _normalized,
    "rms_norm": _normalized,
}  # fmt: skip
