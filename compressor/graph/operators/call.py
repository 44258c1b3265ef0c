"""One executed operator, as the rules see it, and the table that leads from operators to rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._pytree import tree_leaves

from compressor.graph.axis import Axis, unify

# The axes of one tensor; None where positions are never removed (batch, tokens, pixels).
Dims = list[Axis | None]


@dataclass
class Call:
    """An operator with its arguments by name, what it returned, and the axes of every tensor seen so far."""

    operator: OpOverload
    arguments: dict[str, Any]
    result: Any
    dims_of: Callable[[Tensor], Dims]
    origin_of: Callable[[Tensor], str]  # the parameter that a tensor is a view of; empty for activations
    shapes: list[tuple[int, ...]]  # of the tensor arguments, before the operator ran
    place: str  # where the user's code asks for it: "file.py:12"
    # Axes that are summed, averaged or normalised over, so that removing channels changes what stays.
    pooled: list[Axis] = field(default_factory=list)
    reads: list[tuple[str, Axis]] = field(default_factory=list)  # (parameter, axis): its input channels
    makes: list[str] = field(default_factory=list)  # parameters that make channels
    counted: list[tuple[Tensor, Axis, str]] = field(default_factory=list)  # (positions on an axis, the axis, reason)

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def dims(self, name: str) -> Dims:
        """The axes of a tensor argument."""
        return self.dims_of(self.arguments[name])

    def axis_number(self, name: str = "dim", of: str = "self") -> int:
        """An argument that names an axis, counted from the front."""
        number: int = self.arguments[name]
        return number % max(1, self.arguments[of].dim())

    def tensors(self) -> list[Tensor]:
        """Every tensor among the arguments."""
        return [leaf for leaf in tree_leaves(self.arguments) if isinstance(leaf, Tensor)]

    def results(self) -> list[Tensor]:
        """Every tensor returned."""
        return [leaf for leaf in tree_leaves(self.result) if isinstance(leaf, Tensor)]

    @property
    def name(self) -> str:
        """For people: "aten.view"."""
        return f"{self.operator.namespace}.{self.operator._opname}"

    def why(self, what: str) -> str:
        """A reason with operator and place."""
        return f"{what} ({self.name} at {self.place})"

    def freeze(self, axis: Axis | None, what: str) -> None:
        """Keeps the axis whole, for this reason."""
        if axis is not None:
            axis.freeze(self.why(what))

    def freeze_all(self, tensor: Tensor, what: str) -> None:
        """Keeps every axis of a tensor whole, for this reason."""
        for axis in self.dims_of(tensor):
            self.freeze(axis, what)

    def counts(self, positions: Tensor, axis: Axis | None) -> None:
        """A result that holds positions on `axis`: whoever reads it freezes the axis."""
        if axis is not None:
            self.counted.append((positions, axis, self.why("its positions are counted")))

    def match(self, a: Axis | None, b: Axis | None) -> Axis | None:
        """The one axis that both are from now on; None if either is of fixed size."""
        if a is None or b is None:
            self.freeze(a or b, "it meets an axis of fixed size")
            return None
        unify(a, b, self.why("its channels are divided differently"))
        return a

    def contract(self, a: Axis | None, b: Axis | None, *operands: Tensor) -> None:
        """Matches two axes that are multiplied and summed over."""
        axis = self.match(a, b)
        if axis is None:
            return
        self.pooled.append(axis)
        origins = [self.origin_of(operand) for operand in operands]
        if not all(origins):  # a product of parameters alone (a weight's norm) reads no channels
            self.reads += [(origin, axis) for origin in origins if origin]


Rule = Callable[[Call], Sequence[Dims]]
_RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Registers a rule for operators ("aten.view", or one overload of it: "aten.view.dtype").

    A rule matches axes and returns the axes of each returned tensor, in order.
    """

    def register(function: Rule) -> Rule:
        _RULES.update(dict.fromkeys(names, function))
        return function

    return register


def rule_for(operator: OpOverload) -> Rule | None:
    """The rule of an operator: of its overload, of its name, or of pointwise operators as a family."""
    name = f"{operator.namespace}.{operator._opname}"
    overload = f"{name}.{operator._overloadname}"
    found = _RULES.get(overload) or _RULES.get(name) or _RULES.get(name.removesuffix("_"))
    if found is None and torch.Tag.pointwise in (operator.tags + _functional(operator).tags):
        return pointwise
    return found


def _functional(operator: OpOverload) -> OpOverload:
    """The operator that computes the same out of place; only that one may be marked as pointwise."""
    if operator.namespace != "aten" or not operator._opname.endswith("_"):
        return operator
    packet = getattr(torch.ops.aten, operator._opname[:-1], None)
    found: OpOverload = getattr(packet, operator._overloadname, operator) if packet is not None else operator
    return found


@rule(
    "aten.hardswish", "aten.hardsigmoid", "aten.hardtanh", "aten.leaky_relu", "aten.elu", "aten.silu", "aten.mish",
    "aten.gelu", "aten.softplus", "aten._prelu_kernel", "aten.threshold", "aten.relu", "aten.celu", "aten.hardshrink",
    "aten.softshrink", "aten.masked_fill", "aten.where", "aten.clamp", "aten.nan_to_num", "aten.addcmul",
    "aten.addcdiv", "aten.lerp", "aten.log_sigmoid_forward", "aten.floor_divide", "aten.fmod", "aten.remainder",
)  # fmt: skip
def pointwise(call: Call) -> Sequence[Dims]:
    """Element by element, with broadcasting: axes of one place are one axis."""
    return [broadcast(call, call.tensors(), out.dim()) for out in call.results()]


def broadcast(call: Call, tensors: Sequence[Tensor], n_dims: int) -> Dims:
    """The axes of the result of broadcasting `tensors` together to `n_dims` axes."""
    result: Dims = [None] * n_dims
    for place in range(1, n_dims + 1):  # from the right
        meeting = [call.dims_of(t)[-place] for t in tensors if t.dim() >= place and t.shape[-place] > 1]
        if meeting:
            axis = meeting[0]
            for other in meeting[1:]:
                axis = call.match(axis, other) if axis is not other else axis
            result[-place] = axis
    return result


def unknown(call: Call) -> Sequence[Dims]:
    """No rule: whatever it touches keeps its size."""
    for tensor in call.tensors():
        call.freeze_all(tensor, "the graph has no rule for an operator that it goes through")
    return fixed(call)


def fixed(call: Call, skip: int = 0) -> list[Dims]:
    """Axes of fixed size for every returned tensor but the first `skip`."""
    return [[None] * result.dim() for result in call.results()[skip:]]
