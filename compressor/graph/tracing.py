"""Follows the axes of every tensor through one real forward pass, operator by operator.

The operators are those that PyTorch's dispatcher executes below autograd: few, documented, and the same whatever the
user's code looks like (modules, functional calls, TorchScript, loops). No graph is kept, only what each operator says
about axes, so memory is that of one inference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from compressor.core.copies import share_tensors
from compressor.graph.axis import Axis
from compressor.graph.cost import evaluating, product_of
from compressor.graph.marks import Attribute, Marks
from compressor.graph.operators import Call, Dims, rule_for, unknown
from compressor.graph.origins import Origins
from compressor.graph.source_lines import source_line
from exporters.signature import ExampleInputs, flatten_outputs

BATCH = 2  # in training; batch norm needs two


@dataclass(frozen=True)
class Step:
    """One executed operator."""

    name: str  # "aten.view"
    place: str  # "file.py:12" in the user's code
    modules: tuple[str, ...]  # paths of the modules being executed, outermost first
    inputs: tuple[Dims, ...]  # of tensor arguments, in order
    outputs: tuple[Dims, ...]
    pooled: tuple[Axis, ...]  # axes that are summed, averaged or normalised over
    activation_macs: int  # multiply-accumulates of a product that no parameter takes part in


@dataclass(frozen=True)
class Trace:
    """What one forward pass says about axes."""

    tensors: dict[str, Dims]  # of every parameter and buffer
    steps: list[Step]
    reads: dict[str, list[Axis]]  # parameter -> axes that it sums over: its input channels
    makes: frozenset[str]  # parameters that make channels
    touched: frozenset[str]  # parameters and buffers that were read, by the first of their names
    entered: dict[str, Dims]  # module path -> axes of the first tensor that it was called with
    counted: dict[Attribute, list[Axis]]  # integer that modules keep -> axes that it was seen to count
    compared: frozenset[Attribute]  # integers that modules keep and found equal to another number
    guessed: set[str]  # modules whose other integers count axes of their value

    @cached_property
    def steps_of(self) -> dict[str, list[Step]]:
        """{module path: the operators executed while it ran}"""
        found: dict[str, list[Step]] = {}
        for step in self.steps:
            for layer in dict.fromkeys(step.modules):
                found.setdefault(layer, []).append(step)
        return found


def trace(model: nn.Module, inputs: ExampleInputs) -> Trace:
    """Runs `model` once on `inputs`.

    The axes of the model's outputs are frozen: they keep their size.

    Raises:
        Whatever the model's forward raises.
    """
    tensors: dict[str, Dims] = {}
    known: dict[int, Dims] = {}
    names: dict[int, str] = {}
    for name, tensor in [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]:
        if id(tensor) not in known:
            known[id(tensor)] = [Axis(size) if size > 1 else None for size in tensor.shape]
            names[id(tensor)] = name
        tensors[name] = known[id(tensor)]
    follower = _Follower(model, known, names)
    marks = Marks(model, follower.dims_of, follower.stack)
    with evaluating(model):
        _follow(follower, model, inputs, marks)
    parameters = {id(parameter) for parameter in model.parameters()}
    if not follower.touched.issuperset(name for key, name in names.items() if key in parameters):
        _follow_training(follower, model, inputs, tensors)
    return Trace(
        tensors,
        follower.steps,
        follower.reads,
        frozenset(follower.makes),
        frozenset(follower.touched),
        follower.entered,
        marks.counted,
        frozenset(marks.compared),
        set(),
    )


def _follow(
    follower: _Follower, model: nn.Module, inputs: ExampleInputs, marks: AbstractContextManager[object] | None = None
) -> None:
    """One pass in the mode in which the model is; its outputs keep their shape."""
    with (
        _as_it_was(model),
        _module_stack(model, follower),
        torch.random.fork_rng(devices=[]),
        _AttentionScale(follower),
        marks or nullcontext(),
        follower,
    ):
        outputs = flatten_outputs(inputs.call(model))
    for output in outputs:
        follower.freeze_counted(output)
        for axis in follower.dims_of(output):
            if axis is not None:
                axis.freeze("its channels reach the model's outputs, which keep their shape")


def _follow_training(
    evaluated: _Follower, model: nn.Module, inputs: ExampleInputs, tensors: Mapping[str, Dims]
) -> None:
    """Adds what training alone calls: auxiliary heads, which have to fit the cut network as well.

    On shapes alone, so that no running statistics change. A model that does not train on plain inputs (a detector wants
    boxes) has no such pass.
    """
    copied = share_tensors(model).to("meta").train()
    named = [*copied.named_parameters(remove_duplicate=False), *copied.named_buffers(remove_duplicate=False)]
    known = {id(tensor): tensors[name] for name, tensor in named}
    names: dict[int, str] = {}
    for name, tensor in named:
        names.setdefault(id(tensor), name)
    follower = _Follower(copied, known, names)
    try:
        with torch.no_grad():
            _follow(follower, copied, inputs.tiled(BATCH).to(device="meta"))
    except Exception:  # the model's own code may raise anything
        return
    for name in sorted(follower.touched - evaluated.touched):
        if name in follower.reads:
            evaluated.reads[name] = follower.reads[name]
    evaluated.makes |= follower.makes
    evaluated.touched |= follower.touched
    for layer, dims in follower.entered.items():
        evaluated.entered.setdefault(layer, dims)


class _Follower(TorchDispatchMode):
    """Executes every operator, and asks its rule what it does to axes."""

    def __init__(self, model: nn.Module, known: dict[int, Dims], names: dict[int, str]) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.touched: set[str] = set()  # parameters and buffers that were read
        self.entered: dict[str, Dims] = {}
        self.stack: list[str] = []
        self.reads: dict[str, list[Axis]] = {}
        self.makes: set[str] = set()
        self._known, self._names = known, names
        self._origins = Origins(model)
        self._dims: Any = WeakIdKeyDictionary()
        self._counted: Any = WeakIdKeyDictionary()  # tensor of positions -> [(the axis that they count, why it stays)]

    def dims_of(self, tensor: Tensor) -> Dims:
        """The axes of a tensor; fixed ones for a tensor that came from nowhere (an input, a constant)."""
        found: Dims | None = self._known.get(id(tensor))
        if found is not None:
            self.touched.add(self._names[id(tensor)])
        else:
            found = self._dims.get(tensor)
        return found if found is not None and len(found) == tensor.dim() else [None] * tensor.dim()

    def place(self) -> str:
        """The user's line that is being executed; for a program that was read from a file, the layer."""
        layer = next((name for name in reversed(self.stack) if name), "")
        return source_line() or (f"layer {layer}" if layer else "the model's own code")

    def freeze_counted(self, tensor: Tensor) -> None:
        """Somebody uses a tensor; if it holds positions of an axis, the axis keeps them all."""
        for axis, reason in self._counted.get(tensor, ()):
            axis.freeze(reason)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if is_composite(func):
            with self:
                return func.decompose(*args, **(kwargs or {}))
        arguments = _named(func, args, kwargs or {})
        tensors = [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)]
        # Before it runs: an operator may change its argument's shape in place.
        before = [tuple(tensor.shape) for tensor in tensors]
        inputs = tuple(self.dims_of(tensor) for tensor in tensors)
        known = {id(tensor): dims for tensor, dims in zip(tensors, inputs, strict=True)}
        result = func(*args, **(kwargs or {}))
        results = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if not results or func.namespace == "prim":
            return result
        call = Call(func, arguments, result, lambda tensor: known[id(tensor)], self._origins.of, before, self.place())
        for tensor in tensors:
            self.freeze_counted(tensor)
        outputs = (rule_for(func) or unknown)(call)
        for tensor, dims in zip(results, outputs, strict=True):
            self._dims[tensor] = dims
        for tensor, axis, reason in call.counted:
            self._counted.setdefault(tensor, []).append((axis, reason))
        product = product_of(func, args, kwargs or {}, result, self._origins)
        self._origins.follow(tensors, results)
        for parameter, axis in call.reads:
            self.reads.setdefault(parameter, []).append(axis)
        self.makes.update(name for name in call.makes if name)
        self.steps.append(
            Step(
                call.name,
                call.place,
                tuple(self.stack),
                inputs,
                tuple(outputs),
                tuple(call.pooled),
                product[0] if product is not None and not product[1] else 0,
            )
        )
        return result


class _AttentionScale(TorchFunctionMode):
    """Keeps the head dimension of attention whose scale follows from it.

    On some devices and data types PyTorch takes attention apart into products, and the scale is then a number that says
    nothing about where it came from.
    """

    def __init__(self, follower: _Follower) -> None:
        super().__init__()
        self._follower = follower

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func is torch.nn.functional.scaled_dot_product_attention and given.get("scale") is None:
            axis = self._follower.dims_of(args[0] if args else given["query"])[-1]
            if axis is not None:
                place = f"aten.scaled_dot_product_attention at {self._follower.place()}"
                axis.freeze(f"the attention's scale follows from the head dimension ({place})")
        return func(*args, **given)


def is_composite(operator: Any) -> bool:
    """Whether it is made of other operators: in inference mode PyTorch does not take it apart by itself."""
    return torch.is_inference_mode_enabled() and torch._C._dispatch_has_kernel_for_dispatch_key(
        operator.name(), "CompositeImplicitAutograd"
    )


def _named(operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """All arguments by name, defaults too."""
    found: dict[str, Any] = {}
    for i, argument in enumerate(operator._schema.arguments):
        if i < len(args):
            found[argument.name] = args[i]
        elif argument.name in kwargs:
            found[argument.name] = kwargs[argument.name]
        elif argument.has_default_value():
            found[argument.name] = argument.default_value
    return found


@contextmanager
def _as_it_was(model: nn.Module) -> Iterator[None]:
    """Takes off what a forward pass keeps on the modules."""
    attributes = [(module, dict(vars(module))) for module in model.modules()]
    try:
        yield
    finally:
        for module, former in attributes:
            vars(module).clear()
            vars(module).update(former)


@contextmanager
def _module_stack(model: nn.Module, follower: _Follower) -> Iterator[None]:
    """While open, the follower knows which modules are being executed, and what they were called with."""
    names = {id(module): name for name, module in model.named_modules()}

    def enter(module: nn.Module, args: tuple[Any, ...]) -> None:
        name = names.get(id(module), "?")
        follower.stack.append(name)
        first = next((leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)), None)
        if first is not None and name not in follower.entered:
            follower.entered[name] = follower.dims_of(first)

    def leave(_module: nn.Module, _args: Any, _result: Any) -> None:
        follower.stack.pop()

    handles = [
        hooks.register_module_forward_pre_hook(enter),
        hooks.register_module_forward_hook(leave, always_call=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
