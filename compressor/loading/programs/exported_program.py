"""torch.export programs (.pt2)."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind
from torch.utils import _pytree as pytree

from compressor.core.errors import UnsupportedModel
from compressor.loading.programs.aten.registry import apply
from compressor.loading.programs.builder import BROKEN, Builder, unsupported_operator
from compressor.loading.programs.values import calculate

# Functions of numbers that a program may call; it could name any other function of Python, which is not run.
_NUMBERS: frozenset[Any] = frozenset(
    {
        *(operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.neg),
        *(operator.pow, operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge, operator.not_),
        *(operator.and_, operator.or_, math.floor, math.ceil, math.trunc, max, min, round, abs),
        *(torch.sym_int, torch.sym_float, torch.sym_max, torch.sym_min, torch.sym_not),
    }
)
_WRAPPERS = ("wrap_with_set_grad_enabled", "wrap_with_autocast")  # one graph inside another, run once


def build_exported(
    program: ExportedProgram, names: Sequence[str], runs: Sequence[Sequence[Tensor]], frozen_batch: int | None = None
) -> fx.GraphModule:
    """Writes the program as a module.

    Args:
        program: as `open_program` gave it.
        names: of the inputs.
        runs: input tensors of each trial run, in the order of the program's inputs.
        frozen_batch: the batch size that the program was exported for, if the runs have others.
    """
    build = Builder(len(runs), frozen_batch=frozen_batch)
    given = iter(zip(names, zip(*runs, strict=True), strict=True))
    state = {**program.state_dict, **program.constants}
    build.expect(state)
    values: list[Any] = []
    tied: dict[Any, Any] = {}  # weights that share their memory are one
    for spec in program.graph_signature.input_specs:
        if spec.kind is not InputKind.USER_INPUT:
            tensor = state[spec.target].detach()
            identity = (tensor.data_ptr(), tensor.shape, tensor.stride())
            if identity not in tied or not tensor.numel():
                trainable = spec.kind is InputKind.PARAMETER
                tied[identity] = build.constant(tensor, str(spec.target), trainable=trainable)
            values.append(tied[identity])
        elif isinstance(spec.arg, ConstantArgument):
            values.append(spec.arg.value)
        else:
            values.append(build.input(*next(given)))
    flat = _written(build, program.graph_module, values)
    build.output(_outputs(program, flat))
    return build.finish()


def _written(build: Builder, module: fx.GraphModule, values: Sequence[Any]) -> list[Any]:
    """Writes the operators of a graph with these inputs; gives its outputs."""
    env: dict[fx.Node, Any] = {}
    given = iter(values)
    last_use = _last_uses(module.graph)
    for node in module.graph.nodes:
        if node.op == "placeholder":
            env[node] = next(given)
        elif node.op == "get_attr":
            env[node] = getattr(module, str(node.target))
        elif node.op == "output":
            return [env[item] if isinstance(item, fx.Node) else item for item in node.args[0]]
        else:
            build.scope = _scope(node)
            args, kwargs = fx.map_arg((node.args, node.kwargs), env.__getitem__)
            try:
                env[node] = _call(build, node, args, kwargs)
            except (UnsupportedModel, *BROKEN) as error:
                raise unsupported_operator(str(node.target), f"node '{node.name}'", error) from error
        for used in last_use.get(node, ()):
            env[used] = None  # its data is not needed any more
    raise UnsupportedModel("the program has no output")


def _call(build: Builder, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    target: Any = node.target
    if target is operator.getitem:
        return args[0][args[1]]
    if isinstance(target, torch._ops.OpOverload):
        return apply(build, target, args, kwargs)
    if isinstance(target, torch._ops.HigherOrderOperator):
        if str(target) in _WRAPPERS:  # (its own options ..., graph, inputs ...)
            index = next(number for number, arg in enumerate(args) if isinstance(arg, fx.GraphModule))
            return _written(build, args[index], args[index + 1 :])
        raise UnsupportedModel("it branches or loops inside the program, which is not covered")
    if target in _NUMBERS:
        return calculate(target, *args)
    raise UnsupportedModel("it is no operator of PyTorch that is known here; it was not run")


def _outputs(program: ExportedProgram, flat: list[Any]) -> Any:
    kept = [
        value
        for value, spec in zip(flat, program.graph_signature.output_specs, strict=True)
        if spec.kind is OutputKind.USER_OUTPUT
    ]
    return pytree.tree_unflatten(kept, program.call_spec.out_spec)


def _scope(node: fx.Node) -> str:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else ""


def _last_uses(graph: fx.Graph) -> dict[fx.Node, list[fx.Node]]:
    """Which values are not needed any more after a node."""
    last: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        for used in node.all_input_nodes:
            last[used] = node
    result: dict[fx.Node, list[fx.Node]] = {}
    for used, node in last.items():
        result.setdefault(node, []).append(used)
    return result
