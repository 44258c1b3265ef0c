"""The oracle: what the cut network must compute, told by the whole one, which is kept from reading removed channels.

Cutting a channel and never reading it are the same thing if every operator that makes, passes or reads it agrees on
where it lies. So the whole network runs with its own weights, and only operators that read several channels at once are
watched: products (convolution, linear, attention) are given zeros in place of removed channels; norms and reductions
work on the channels that stay, as after the cut. What else is in the removed channels is nobody's business, and if
somebody reads it after all, the outputs differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from compressor.core.errors import ContractViolation
from compressor.core.groups import ChannelGroup
from compressor.graph.tracing import is_composite

_PRODUCTS = ("convolution", "conv2d", "linear", "mm", "mv", "dot", "attention")  # and "addmm", "bmm", ...
Removed = dict[tuple[int, int], set[int]]  # (nth tensor, axis) -> positions


def is_product(operator: str) -> bool:
    """Whether zeros among the channels that it reads are as good as no channels.

    >>> is_product("aten.convolution"), is_product("addmm"), is_product("aten.native_layer_norm")
    (True, True, False)
    """
    return operator.removesuffix("_for_cpu").endswith(_PRODUCTS)


class _Watch:
    """What one operator may not read."""

    def __init__(self, operator: str) -> None:
        self.operator = operator
        self.arguments: Removed = {}
        self.results: Removed = {}


@contextmanager
def silenced(groups: Sequence[ChannelGroup], keep: Mapping[str, Sequence[int]]) -> Iterator[None]:
    """While open, a forward pass of the whole network reads no removed channel. For one pass.

    Raises:
        ContractViolation: the network executes other operators than when its groups were found.
    """
    watches: dict[int, _Watch] = {}
    for group in groups:
        kept = set(keep.get(group.name, range(group.n_channels)))
        if len(kept) == group.n_channels:
            continue
        for reading in group.readings:
            watch = watches.setdefault(reading.step, _Watch(reading.operator))
            for side, entries in ((watch.arguments, reading.axes), (watch.results, reading.results)):
                for tensor, axis, position, channel in entries:
                    gone = {p for p, c in zip(position, channel, strict=True) if c not in kept}
                    side.setdefault((tensor, axis), set()).update(gone)
    with _Silencer(watches):
        yield


class StepCounter(TorchDispatchMode):
    """Numbers the executed operators as the graph does."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []  # of the operators so far

    @property
    def step(self) -> int:
        """The number of the next operator."""
        return len(self.names)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if is_composite(func):
            with self:
                return func.decompose(*args, **(kwargs or {}))
        result = self.run(func, args, kwargs or {})
        if func.namespace != "prim" and any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):
            self.names.append(f"{func.namespace}.{func._opname}")
        return result

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The operator itself."""
        return func(*args, **kwargs)


class _Silencer(StepCounter):
    def __init__(self, watches: Mapping[int, _Watch]) -> None:
        super().__init__()
        self._watches = watches

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        watch = self._watches.get(self.step)
        if watch is None:
            return func(*args, **kwargs)
        name = f"{func.namespace}.{func._opname}"
        if name != watch.operator:
            raise ContractViolation(
                f"The model executes {name} where it executed {watch.operator} before, so that cutting cannot be "
                "checked. Does its forward depend on chance or on what ran before?"
            )
        if is_product(func._opname):
            args, kwargs = _changed(args, kwargs, watch.arguments, _zeroed)
            return func(*args, **kwargs)
        return _over_kept(func, args, kwargs, watch)


def _changed(args: Any, kwargs: Any, removed: Removed, change: Any) -> tuple[Any, Any]:
    """The arguments with `change(tensor, {axis: removed positions})` done to each tensor, in the schema's order."""
    number = -1

    def each(leaf: Any) -> Any:
        nonlocal number
        if not isinstance(leaf, Tensor):
            return leaf
        number += 1
        axes = {axis: gone for (tensor, axis), gone in removed.items() if tensor == number and gone}
        return change(leaf, axes) if axes else leaf

    changed = tree_map(each, (args, kwargs))
    return changed[0], changed[1]


def _zeroed(tensor: Tensor, axes: Mapping[int, set[int]]) -> Tensor:
    for axis, gone in axes.items():
        tensor = tensor.index_fill(axis, torch.tensor(sorted(gone), device=tensor.device), 0)
    return tensor


def _kept(tensor: Tensor, axes: Mapping[int, set[int]]) -> Tensor:
    order, back = _memory_order(tensor)
    tensor = tensor.permute(order)
    for axis, gone in axes.items():
        tensor = tensor.index_select(back[axis], _others(tensor.shape[back[axis]], gone, tensor.device))
    return tensor.permute(back)


def _spread(tensor: Tensor, axis: int, gone: set[int]) -> Tensor:
    """With zeros at the removed positions."""
    order, back = _memory_order(tensor)
    tensor = tensor.permute(order)
    shape = [*tensor.shape]
    shape[back[axis]] += len(gone)
    others = _others(shape[back[axis]], gone, tensor.device)
    return tensor.new_zeros(shape).index_copy(back[axis], others, tensor).permute(back)


def _memory_order(tensor: Tensor) -> tuple[list[int], list[int]]:
    """Axes from the outermost in memory to the innermost, and the way back.

    A copy has to lie in memory as the tensor does: whether a reshape is one operator or two depends on it.
    """
    order = sorted(range(tensor.dim()), key=lambda axis: -tensor.stride()[axis])
    return order, [order.index(axis) for axis in range(tensor.dim())]


def _others(size: int, gone: set[int], device: torch.device) -> Tensor:
    return torch.tensor([position for position in range(size) if position not in gone], device=device)


def _over_kept(func: Any, args: Any, kwargs: Any, watch: _Watch) -> Any:
    """The operator on what stays, and its results in their old shape with zeros where channels are gone."""
    before = [tuple(leaf.shape) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    args, kwargs = _changed(args, kwargs, watch.arguments, _kept)
    args = _resized(func._opname, list(args), before, watch)
    number = -1

    def spread(leaf: Any) -> Any:
        nonlocal number
        if not isinstance(leaf, Tensor):
            return leaf
        number += 1
        for (tensor, axis), gone in watch.results.items():
            if tensor == number and gone:
                leaf = _spread(leaf, axis, gone)
        return leaf

    return tree_map(spread, func(*args, **kwargs))


def _resized(operator: str, args: list[Any], before: Sequence[tuple[int, ...]], watch: _Watch) -> list[Any]:
    """Norms are told sizes, which follow their first argument."""
    if operator in ("native_layer_norm", "_fused_rms_norm", "rms_norm"):
        args[1] = list(args[0].shape[-len(args[1]) :])
    elif operator == "native_group_norm":  # (input, weight, bias, N, C, HxW, group, eps)
        # A whole group leaves if all its channels do; else every group loses as many.
        gone, size = watch.arguments[(0, 1)], args[4] // args[6]
        whole = sum(set(range(g * size, (g + 1) * size)) <= gone for g in range(args[6]))
        args[4], args[6] = args[0].shape[1], args[6] - whole
    return args
