"""TorchScript archives: their graph is followed operator by operator, in Python.

The archive's own interpreter is not used for that. Branches and loops are followed as they fall out for the example
inputs; where they depend on what the inputs hold, the file is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from compressor.core.errors import UnsupportedModel
from compressor.loading.programs.aten.registry import apply
from compressor.loading.programs.builder import BROKEN, Builder, unsupported_operator
from compressor.loading.programs.torchscript_scalars import SCALARS, Undecided, number_of
from compressor.loading.programs.values import Dim, Value

DTYPES = {  # by the numbers that TorchScript gives them
    0: torch.uint8, 1: torch.int8, 2: torch.int16, 3: torch.int32, 4: torch.int64,
    5: torch.float16, 6: torch.float32, 7: torch.float64, 11: torch.bool, 15: torch.bfloat16,
}  # fmt: skip
_MOST_STEPS = 1_000_000  # loops are written out
_STATISTICS = ("num_batches_tracked", "running_mean", "running_var")


@dataclass(frozen=True)
class _Module:
    """A submodule, on the way to one of its tensors."""

    module: Any
    path: str


def build_script(
    module: torch.jit.ScriptModule,
    names: Sequence[str],
    runs: Sequence[Sequence[Tensor]],
    frozen_batch: int | None = None,
) -> fx.GraphModule:
    """Writes `forward` as a module.

    Args:
        module: in evaluation mode.
        names: of the inputs.
        runs: input tensors of each trial run, in the order of `names`.
        frozen_batch: the batch size that the file was exported for, if the runs have others.

    Raises:
        UnsupportedModel: an operator has no counterpart.
    """
    build = Builder(len(runs), frozen_batch=frozen_batch)
    graph = module.inlined_graph
    writer = _Writer(build, module)
    inputs = list(graph.inputs())
    writer.env[inputs[0].debugName()] = _Module(module, "")
    for index, (value, name) in enumerate(zip(inputs[1:], names, strict=False)):
        writer.env[value.debugName()] = build.input(name, [run[index] for run in runs])
    rest = slice(1 + len(names), None)  # arguments with defaults keep them
    forward: Any = module.forward
    for value, argument in zip(inputs[rest], forward.schema.arguments[rest], strict=True):
        writer.env[value.debugName()] = argument.default_value
    writer.run(graph, free=True)
    results = [writer.env[value.debugName()] for value in graph.outputs()]
    build.output(_tensors_of(results[0]))
    return build.finish()


def _tensors_of(result: Any) -> Any:
    if isinstance(result, dict):
        return {str(key): _tensors_of(value) for key, value in result.items()}
    if isinstance(result, (list, tuple)):
        return tuple(_tensors_of(item) for item in result)
    if not isinstance(result, Value):
        raise UnsupportedModel(
            f"it returns a {type(result).__name__}; only tensors, and lists and dicts of them, can be"
        )
    return result


class _Writer:
    """Keeps what every name of the graph stands for."""

    def __init__(self, build: Builder, module: torch.jit.ScriptModule) -> None:
        self.build, self.env = build, dict[str, Any]()
        self.n_written = 0
        self.tensors: dict[str, Value] = {}  # path -> parameter or buffer
        self.parameters = {name for name, _ in module.named_parameters()}
        named = [*module.named_parameters(), *module.named_buffers()]
        build.expect(name for name, _ in named)
        self.paths: dict[Any, str] = {}  # of tied weights, the first of their names
        for name, tensor in named:
            self.paths.setdefault(_identity(tensor), name)

    def run(self, block: Any, *, free: bool = False) -> None:
        """Writes the operators of a graph or of a block in it."""
        nodes = list(block.nodes())
        last = _last_uses(nodes) if free else {}
        kept = {value.debugName() for value in block.outputs()}
        for position, node in enumerate(nodes):
            self._write(node)
            for name in last.get(position, ()):
                if name not in kept:
                    self.env.pop(name, None)  # its data is not needed any more

    def _write(self, node: Any) -> None:
        kind = node.kind()
        self.n_written += 1
        if self.n_written > _MOST_STEPS:
            raise UnsupportedModel(f"the program runs more than {_MOST_STEPS} operators, perhaps in an endless loop")
        scope = node.scopeName().rpartition("/")[2]
        self.build.scope = scope.removeprefix("__module").removeprefix(".") if scope.startswith("__module") else ""
        args = [self.env[value.debugName()] for value in node.inputs()]
        try:
            results = self._results(node, kind, args)
        except Undecided as error:
            reason = UnsupportedModel(f"{error}, so what follows is known only when it runs")
            raise unsupported_operator(kind, _place(node), reason) from error
        except (UnsupportedModel, *BROKEN) as error:
            if str(error).startswith("operator "):  # one inside this branch or loop has said it
                raise
            raise unsupported_operator(kind, _place(node), error) from error
        outputs = list(node.outputs())
        for value, result in zip(outputs, results if len(outputs) != 1 else [results], strict=True):
            self.env[value.debugName()] = result

    def _results(self, node: Any, kind: str, args: list[Any]) -> Any:
        if kind == "prim::Constant":
            return self._constant(node)
        if kind == "prim::GetAttr":
            return self._attribute(args[0], node.s("name"))
        if kind == "prim::SetAttr":
            if node.s("name") not in _STATISTICS:
                raise UnsupportedModel(f"it changes the module's '{node.s('name')}' while it runs")
            return ()
        if kind == "prim::If":
            return self._branch(node, args[0])
        if kind == "prim::Loop":
            return self._loop(node, args)
        if kind in SCALARS:
            return SCALARS[kind](self.build, node, args)
        return self._call(node, kind, args)

    def _constant(self, node: Any) -> Any:
        value = node.output().toIValue()
        return self.build.constant(value) if isinstance(value, Tensor) else value

    def _attribute(self, owner: Any, name: str) -> Any:
        value = getattr(owner.module, name)
        path = f"{owner.path}.{name}" if owner.path else name
        if isinstance(value, Tensor):
            return self._known(value)
        if isinstance(value, list) and value and all(isinstance(item, Tensor) for item in value):
            return [self._known(item) for item in value]
        return _Module(value, path) if isinstance(value, (torch.jit.ScriptModule, torch.ScriptObject)) else value

    def _known(self, tensor: Tensor) -> Value:
        """A tensor of the module, wherever it is kept (recurrent layers have theirs in lists, too)."""
        path = self.paths.get(_identity(tensor))
        if path is None:
            return self.build.constant(tensor.detach())
        if path not in self.tensors:
            self.tensors[path] = self.build.constant(tensor.detach(), path, trainable=path in self.parameters)
        return self.tensors[path]

    def _branch(self, node: Any, condition: Any) -> Any:
        block = list(node.blocks())[0 if number_of(condition) else 1]
        self.run(block)
        results = [self.env[value.debugName()] for value in block.outputs()]
        return results[0] if len(results) == 1 else results

    def _loop(self, node: Any, args: list[Any]) -> Any:
        most, going, carried = number_of(args[0]), bool(number_of(args[1])), args[2:]
        (block,) = node.blocks()
        names = [value.debugName() for value in block.inputs()]
        step = 0
        while going and step < most:
            self.env.update(zip(names, [step, *carried], strict=True))
            self.run(block)
            condition, *carried = [self.env[value.debugName()] for value in block.outputs()]
            going, step = bool(number_of(condition)), step + 1
        return carried[0] if len(carried) == 1 else carried

    def _call(self, node: Any, kind: str, args: list[Any]) -> Any:
        namespace, _, name = kind.partition("::")
        if node.schema() == "(no schema)" or not hasattr(getattr(torch.ops, namespace), name):
            raise UnsupportedModel("there is no counterpart for it in PyTorch here")
        schema = torch._C.parse_schema(node.schema())
        packet = getattr(getattr(torch.ops, namespace), name)
        overload = getattr(packet, schema.overload_name or "default")
        given = [
            self._as_tensor(arg) if str(argument.type) == "Tensor" else _as_dtype(arg, argument.name)
            for arg, argument in zip(args, overload._schema.arguments, strict=True)
        ]
        n_positional = sum(not argument.kwarg_only for argument in overload._schema.arguments)
        keywords = {
            argument.name: arg
            for arg, argument in zip(given[n_positional:], overload._schema.arguments[n_positional:], strict=True)
        }
        return apply(self.build, overload, tuple(given[:n_positional]), keywords)

    def _as_tensor(self, arg: Any) -> Any:
        """Traced graphs compute with sizes as if they were tensors."""
        if isinstance(arg, (int, float)):
            return self.build.constant(torch.tensor(arg))
        if isinstance(arg, Dim):
            return self.build.call(torch.full, [], arg)
        return arg


def _identity(tensor: Tensor) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Equal for two Python objects of one tensor; the archive gives a new one at every access."""
    return tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride())


def _as_dtype(arg: Any, name: str) -> Any:
    return DTYPES[arg] if name == "dtype" and isinstance(arg, int) else arg


def _last_uses(nodes: list[Any]) -> dict[int, list[str]]:
    """Position of a node -> the names that no later node reads."""
    last: dict[str, int] = {}
    for position, node in enumerate(nodes):
        for name in _names_in(node):
            last[name] = position
    found: dict[int, list[str]] = {}
    for name, position in last.items():
        found.setdefault(position, []).append(name)
    return found


def _names_in(node: Any) -> list[str]:
    names = [value.debugName() for value in node.inputs()]
    for block in node.blocks():
        names += [value.debugName() for value in block.outputs()]
        for inner in block.nodes():
            names += _names_in(inner)
    return names


def _place(node: Any) -> str:
    lines = [line.strip() for line in node.sourceRange().splitlines() if line.strip()]
    code = next((lines[index - 1] for index, line in enumerate(lines) if "<--- HERE" in line and index), "")
    where = next((line for line in reversed(lines) if ".py" in line and "(" in line), "")
    return " ".join(filter(None, (f"'{code[:80]}'" if code else "", where[:120]))) or "no source"
