"""An ONNX graph becomes a module, operator by operator."""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, fx

import compressor.loading.programs.onnx_operators as onnx_operators
from compressor.core.errors import UnsupportedModel
from compressor.loading.programs import onnx_sizes
from compressor.loading.programs.builder import BROKEN, Builder, unsupported_operator
from compressor.loading.programs.onnx_names import readable, scope_of
from compressor.loading.programs.onnx_node import Entry, OnnxNode, as_value
from compressor.loading.programs.onnx_patterns import with_norms
from compressor.loading.programs.values import Value

_DEFAULT_DOMAINS = ("", "ai.onnx")


def build_onnx(
    model: onnx.ModelProto, names: Sequence[str], runs: Sequence[Sequence[Tensor]], frozen_batch: int | None = None
) -> fx.GraphModule:
    """Writes the main graph as a module.

    Args:
        model: with all weights in it, and without functions of its own.
        names: of the inputs.
        runs: input tensors of each trial run, in the order of `names`.
        frozen_batch: the batch size that the file was exported for, if the runs have others.

    Raises:
        UnsupportedModel: an operator has no counterpart; the sentence names it and its node.
    """
    build = Builder(len(runs), tells_parameters=False, frozen_batch=frozen_batch)
    writer = _GraphWriter(build, model)
    for index, name in enumerate(names):
        writer.env[name] = build.input(name, [run[index] for run in runs])
    outputs = writer.write(model.graph)
    tensors = [as_value(build, entry) for entry in outputs if entry is not None]
    build.output(tensors[0] if len(tensors) == 1 else tuple(tensors))
    return build.finish()


def uncovered(model: onnx.ModelProto) -> str:
    """Operators that have no counterpart, each with its first node; empty if all have one."""
    found: dict[str, str] = {}
    for node in model.graph.node:
        foreign = node.domain not in _DEFAULT_DOMAINS
        if foreign or node.op_type not in handlers():
            name = f"{node.domain}.{node.op_type}" if foreign else node.op_type
            found.setdefault(name, node.name or node.output[0])
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    listed = [f"{operator} (node '{node}')" for operator, node in list(found.items())[:4]]
    return f"the operator{'s' if len(found) > 1 else ''} {', '.join(listed)}{more}" if found else ""


class _GraphWriter:
    """Keeps what every name in the file stands for."""

    def __init__(self, build: Builder, model: onnx.ModelProto) -> None:
        self.build, self.env = build, dict[str, Entry]()
        self.opsets = {entry.domain: int(entry.version) for entry in model.opset_import}
        self.uses: Counter[str] = Counter()
        self.readers: dict[str, onnx.NodeProto] = {}
        self.also: dict[str, str] = {}  # output -> output of the addition that this operator did on the way

    def write(self, graph: onnx.GraphProto) -> list[Entry]:
        """Writes all operators of the main graph, and gives its outputs."""
        nodes = with_norms(graph)
        self._count_uses(graph, nodes)
        self.build.expect(readable(tensor.name) for tensor in graph.initializer)
        self._add_weights(graph)
        for node in nodes:  # so that a layer finds a bias that the file defines after it
            if node.op_type == "Constant" or (node.op_type == "Identity" and node.input[0] in self.env):
                self._write_node(node)
        left = Counter(name for node in nodes for name in _read_by(node))
        outputs = {output.name for output in graph.output}
        for node in nodes:
            if node.output[0] in self.env:
                continue
            self._write_node(node)
            for name in _read_by(node):
                left[name] -= 1
                if not left[name] and name not in outputs and isinstance(self.env.get(name), Value):
                    self.env[name] = None  # its data is not needed any more
        return [self.env[output.name] for output in graph.output]

    def write_inner(self, graph: onnx.GraphProto) -> list[Entry]:
        """Writes a branch, which may read what was made outside of it."""
        self._add_weights(graph)
        for node in graph.node:
            self._write_node(node)
        return [self.env[output.name] for output in graph.output]

    def _add_weights(self, graph: onnx.GraphProto) -> None:
        for tensor in graph.initializer:
            self.env[tensor.name] = self.build.constant(to_tensor(tensor), readable(tensor.name))

    def _count_uses(self, graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> None:
        for node in nodes:
            for name in _read_by(node):
                self.uses[name] += 1
                self.readers[name] = node
        for output in graph.output:
            self.uses[output.name] += 2  # never to be swallowed

    def _write_node(self, node: onnx.NodeProto) -> None:
        place = node.name or node.output[0]
        self.build.scope = scope_of(node)
        try:
            results = self._results(node)
        except (UnsupportedModel, *BROKEN) as error:
            raise unsupported_operator(node.op_type, f"node '{place}'", error) from error
        for name, result in zip(node.output, results, strict=False):
            if name:
                self.env[name] = result
                if name in self.also:
                    self.env[self.also[name]] = result

    def _results(self, node: onnx.NodeProto) -> list[Any]:
        handler = handlers().get(node.op_type)
        if handler is None or node.domain not in _DEFAULT_DOMAINS:
            raise UnsupportedModel("there is no counterpart for it in PyTorch here")
        view = OnnxNode(
            node.op_type,
            node.name,
            self.opsets.get(node.domain, self.opsets.get("", 1)),
            self.build,
            [self._input(name) for name in node.input],
            {item.name: _attribute(item) for item in node.attribute},
            list(node.output),
            lambda n, axis: self._take_bias(node, n, axis),
            self.write_inner,
        )
        result = onnx_sizes.compute(view) if onnx_sizes.applies(view) else handler(view)
        return result if isinstance(result, list) else [result]

    def _input(self, name: str) -> Entry:
        if not name:
            return None
        if self.env.get(name) is None:
            raise UnsupportedModel(f"its input '{name}' is made by no operator before it")
        return self.env[name]

    def _take_bias(self, node: onnx.NodeProto, n: int, axis: int) -> Value | None:
        """The constant that the only reader of this operator's output adds to it, if it is a bias of `n` numbers.

        The addition counts as done then, and its output is this operator's.
        """
        output = node.output[0]
        reader = self.readers.get(output)
        if reader is None or self.uses[output] != 1 or reader.op_type != "Add":
            return None
        other = self.env.get(reader.input[1] if reader.input[0] == output else reader.input[0])
        if not isinstance(other, Value) or not other.constant or other.tensor.numel() != n:
            return None
        shape = list(other.tensor.shape)
        if axis == -1:
            fits = shape[-1:] == [n]
        else:  # (n, 1, ..., 1) or (1, n, 1, ..., 1)
            weight = self.env[node.input[1]]
            assert isinstance(weight, Value)
            n_spatial = weight.ndim - 2
            fits = shape in ([n] + [1] * n_spatial, [1, n] + [1] * n_spatial)
        if not fits:
            return None
        self.also[output] = reader.output[0]
        return other if other.ndim == 1 else self.build.constant(other.tensor.reshape(-1), other.name)


def _read_by(node: onnx.NodeProto) -> list[str]:
    """What an operator reads, also inside of its branches."""
    names = [name for name in node.input if name]
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            names += [name for inner in attribute.g.node for name in _read_by(inner)]
            names += [output.name for output in attribute.g.output]
    return names


def to_tensor(proto: onnx.TensorProto) -> Tensor:
    """The tensor with memory of its own."""
    array = numpy_helper.to_array(proto)
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(array.copy())


def _attribute(item: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(item)
    if isinstance(value, onnx.TensorProto):
        return to_tensor(value)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, float):
        return float(str(np.float32(value)))  # 1e-05, and not what becomes of it in single precision
    if isinstance(value, Iterable) and not isinstance(value, (str, onnx.GraphProto)):
        return [entry.decode(errors="replace") if isinstance(entry, bytes) else entry for entry in value]
    return value


@cache
def handlers() -> dict[str, Callable[[OnnxNode], Any]]:
    """Operator -> what writes it, collected from the files of `onnx_operators`."""
    found: dict[str, Callable[[OnnxNode], Any]] = {}
    for module in pkgutil.iter_modules(onnx_operators.__path__):
        if not module.name.startswith("_"):
            table = importlib.import_module(f"{onnx_operators.__name__}.{module.name}").HANDLERS
            assert not found.keys() & table.keys(), module.name
            found.update(table)
    return found
