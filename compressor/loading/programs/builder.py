"""Writes a module operator by operator, and runs every operator as it is written.

The module is an fx.GraphModule: ordinary layers where the file has weights, small layers that hold sizes
(`shape_layers`), and torch functions between them. Because each operator is run at once, with inputs of two sizes where
axes vary, the shapes are known and need not be inferred: what is equal in both runs is a constant.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from compressor.core.errors import UnsupportedModel
from compressor.loading.programs import placing
from compressor.loading.programs.shape_layers import MADE_OF_SIZES
from compressor.loading.programs.slices import SliceUse, join_slices
from compressor.loading.programs.values import Dim, Value, in_run

# What torch raises when an operator gets what it cannot take.
BROKEN = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, NotImplementedError, MemoryError)
_ENOUGH = 1 << 16  # elements to tell a mask by, where they do not look like one
_MOST_ELEMENTS = 1 << 31  # of one tensor; beyond it a file asks for more memory than any model needs


class Program(fx.GraphModule):
    """A module made of a file; errors in it are raised like those of any module, and not printed."""

    def recompile(self) -> Any:
        """Writes `forward` anew from the graph."""
        code = super().recompile()
        setattr(type(self), "__call__", nn.Module.__call__)  # noqa: B010 - mypy knows that a method is replaced
        return code


class Builder:
    """The module under construction.

    Args:
        n_runs: how many trial runs there are: 2 where axes vary, else 1.
        tells_parameters: whether the file says which of its tensors are trained; if not, those that look it are.
        frozen_batch: the batch size that stands in the file's shapes although the runs have others; see `freeing`.
    """

    def __init__(self, n_runs: int, *, tells_parameters: bool = True, frozen_batch: int | None = None) -> None:
        self.n_runs, self.tells_parameters, self.frozen_batch = n_runs, tells_parameters, frozen_batch
        self.root, self.graph = nn.Module(), fx.Graph()
        self.inputs: list[Value] = []
        self.slices: list[SliceUse] = []
        self.scope = ""  # module path of the operator that is being written, where the file tells
        self.owners: frozenset[str] = frozenset()  # module paths that own weights, and may become layers
        self._layers: dict[Any, str] = {}  # what makes a layer the same as one before -> its path
        self._paths: dict[int, str] = {}  # id of a parameter or buffer -> its path
        self._stored: dict[int, str] = {}  # memory of the file's own tensors -> their names
        self._kept: list[Tensor] = []  # so that no id is used twice

    # Inputs, constants, outputs

    def input(self, name: str, runs: Sequence[Tensor]) -> Value:
        """The next input; its argument in `forward` is called as near to `name` as Python allows."""
        value = Value(tuple(runs), self.graph.placeholder(placing.identifier(name)), name)
        self.inputs.append(value)
        return value

    def constant(self, tensor: Tensor, name: str = "", *, trainable: bool = False) -> Value:
        """A tensor of the file. It gets a place in the module when an operator other than a layer uses it."""
        if name:
            self._stored[_memory_of(tensor)] = name
        return Value((tensor,), None, name, constant=True, trainable=trainable)

    def output(self, structure: Any) -> None:
        """What `forward` returns: a tensor, or a tuple, list or dict of tensors."""
        self.graph.output(self._nodes(structure))

    def finish(self) -> fx.GraphModule:
        """The module, without operators, parameters and layers that nothing uses."""
        placing.drop_unused_operators(self.graph)
        join_slices(self.root, self.graph, [use for use in self.slices if use.node.users])
        placing.drop_unused_operators(self.graph)
        placing.drop_unused_parts(self.root, self.graph)
        module = Program(self.root, self.graph, "Program")
        module.graph.lint()
        return module.eval()

    # Operators

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Writes a call of a torch function. Calls of constants alone are not written but done.

        Arguments may be `Value`s, `Dim`s, plain things, and lists of them; so may results, which are new.
        """
        leaves: list[Any] = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, (Value, Dim))]
        if all(isinstance(leaf, Value) and leaf.constant and not leaf.trainable for leaf in leaves):
            result = self._run(function, args, kwargs, 0)
            name = leaves[0].name if len(leaves) == 1 else ""  # a reshaped weight is still that weight
            return pytree.tree_map(
                lambda item: Value((item,), None, name, constant=True) if isinstance(item, Tensor) else item, result
            )
        results = [self._run(function, args, kwargs, index) for index in range(self.n_runs)]
        node = self.graph.call_function(function, self._nodes(args), self._nodes(kwargs))
        fixed = all(isinstance(leaf, Dim) or leaf.constant or leaf.fixed for leaf in leaves)
        return self._wrapped(node, results, fixed)

    def layer(self, path: str, key: Any, make: Callable[[], nn.Module], *args: Any) -> Any:
        """Writes a call of a layer; one with the same `key` (its weights and options) is used again."""
        leaves: list[Any] = [leaf for leaf in pytree.tree_leaves(args) if isinstance(leaf, (Value, Dim))]
        if not self.tells_parameters and all(isinstance(leaf, Value) and leaf.constant for leaf in leaves):
            # Weights that are calculated from weights: the file knows only the result of training.
            result = self._run(make().eval(), args, {}, 0)
            return pytree.tree_map(lambda item: Value((item,), constant=True), result)
        known = self._layers.get(key) if key is not None else None
        if known is None:
            module = make().eval()
            known = placing.add_layer(self.root, path, module)
            self._remember(known, module)
            if key is not None:
                self._layers[key] = known
        module = self.root.get_submodule(known)
        results = [self._run(module, args, {}, index) for index in range(self.n_runs)]
        return self._wrapped(self.graph.call_module(known, self._nodes(args)), results)

    def check_writable(self, value: Value) -> None:
        """Whether an operator may change this tensor in place.

        Raises:
            UnsupportedModel: it is the file's own, or a constant that others have read already.
        """
        if not value.constant:
            return
        name = self._stored.get(_memory_of(value.tensor))
        if name is not None:
            raise UnsupportedModel(f"it changes '{name}' while it runs, so that every call would give something else")
        if value.node is not None:
            raise UnsupportedModel("it changes a constant in place after it was read, which is not covered")

    def size_layer(self, make: Callable[[], nn.Module], *args: Any) -> Any:
        """Writes a call of a layer of `shape_layers`, one of its own for every operator."""
        module = make()
        name = type(module).__name__.lower()
        result = self.layer(self._in_scope(name), None, lambda: module, *args)
        if isinstance(result, Value):
            values = [arg for arg in args if isinstance(arg, Value)]
            result.fixed = isinstance(module, MADE_OF_SIZES) or all(value.constant or value.fixed for value in values)
        return result

    def size(self, value: Value, axis: int) -> int | Dim:
        """Length of an axis: a plain number where it is the same in all runs."""
        runs = tuple(int(value.run(index).shape[axis]) for index in range(self.n_runs))
        if all(length == runs[0] for length in runs):
            return runs[0]
        node = self.graph.call_function(torch.ops.aten.sym_size.int, (self.node_of(value), axis))
        return Dim(node, runs, plain=True)

    def shape(self, value: Value) -> list[int | Dim]:
        """Lengths of all axes."""
        return [self.size(value, axis) for axis in range(value.ndim)]

    def shapes(self, value: Value) -> list[tuple[int, ...]]:
        """Plain shapes, one per run."""
        return [tuple(value.run(index).shape) for index in range(self.n_runs)]

    def node_of(self, value: Value) -> fx.Node:
        """The node of a value; a constant gets its place in the module now, as a parameter or a buffer."""
        if value.node is None:
            if value.late is not None:
                value.node = self.node_of(value.late())
            else:
                trained = value.trainable if self.tells_parameters else _looks_trained(value.tensor)
                tensor = self.parameter(value) if trained else value.tensor
                if id(tensor) not in self._paths:
                    path = placing.add_tensor(self.root, value.name or self._in_scope("constant"), tensor)
                    self._paths[id(tensor)] = path
                    self._kept.append(tensor)
                value.node = self.graph.get_attr(self._paths[id(tensor)])
        return value.node

    def parameter(self, value: Value) -> nn.Parameter:
        """The one parameter that stands for this constant, however often it is used.

        ONNX exporters store equal tensors once. Where all elements are equal, as in an untrained norm, that says
        nothing about sharing, and every user gets its own.
        """
        if not self.shared(value):
            return nn.Parameter(value.tensor.detach().clone())
        if not isinstance(value.runs[0], nn.Parameter):
            data = value.runs[0]
            value.runs = (nn.Parameter(data, requires_grad=data.is_floating_point()),)
        parameter = value.runs[0]
        assert isinstance(parameter, nn.Parameter)
        return parameter

    def shared(self, value: Value | None) -> bool:
        """Whether two users of this constant mean the same parameter."""
        return value is None or self.tells_parameters or not bool((value.tensor == value.tensor.reshape(-1)[:1]).all())

    def _in_scope(self, name: str) -> str:
        """A path for something without a name of its own; beside a layer, not in it."""
        if not self.scope:
            return name
        return f"{self.scope}_{name}" if self.scope in self.owners else f"{self.scope}.{name}"

    def expect(self, names: Iterable[str]) -> None:
        """Names of the file's weights."""
        self.owners = frozenset(placing.path_of(name).rpartition(".")[0] for name in names) - {""}

    def _remember(self, path: str, module: nn.Module) -> None:
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            self._paths.setdefault(id(tensor), f"{path}.{name}")
            self._kept.append(tensor)

    def _run(self, function: Callable[..., Any], args: Any, kwargs: Any, index: int) -> Any:
        args, kwargs = pytree.tree_map(lambda item: in_run(item, index), (args, kwargs))
        with torch.no_grad():
            return function(*args, **kwargs)

    def _nodes(self, structure: Any) -> Any:
        def node(item: Any) -> Any:
            if isinstance(item, Value):
                return self.node_of(item)
            return item.node if isinstance(item, Dim) else item

        return pytree.tree_map(node, structure)

    def _wrapped(self, node: fx.Node, results: list[Any], fixed: bool = False) -> Any:
        first = results[0]
        if isinstance(first, Tensor):
            return Value(tuple(results), node, fixed=fixed)
        if isinstance(first, (tuple, list)):
            pieces = []
            for position in range(len(first)):
                piece = self.graph.call_function(operator.getitem, (node, position))
                pieces.append(self._wrapped(piece, [result[position] for result in results], fixed))
            return pieces
        if first is None:
            return None
        raise UnsupportedModel(
            "it reads a number out of a tensor, so that its sizes depend on what the input holds, not on its shape"
        )


def unsupported_operator(operator: str, place: str, error: Exception) -> UnsupportedModel:
    """The sentence for an operator that cannot be written or does not run."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return UnsupportedModel(f"operator {operator} ({place}): {reason[:300]}")


def _memory_of(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _looks_trained(tensor: Tensor) -> bool:
    """Whether a tensor of an ONNX file, which does not tell, is a parameter: not a number, not a mask."""
    if not tensor.is_floating_point() or tensor.numel() < 2 or not tensor.isfinite().all():
        return False
    values = tensor.reshape(-1)[:_ENOUGH].unique()
    if len(values) <= 2:
        values = tensor.unique()
    return not (len(values) == 2 and bool((values == 0).any()))  # 0 and -100, 0 and 1: a mask


def check_size(shape: Sequence[int]) -> None:
    """Refuses a tensor that no machine can hold, before it is made.

    Raises:
        UnsupportedModel: more than 2^31 elements.
    """
    total = 1
    for size in shape:
        total *= max(int(size), 0)
    if total > _MOST_ELEMENTS:
        raise UnsupportedModel(f"it makes a tensor of shape {tuple(shape)}, which is too large for any memory")
