"""Operators of TorchScript that compute with numbers, lists and names rather than with tensors."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch

from compressor.core.errors import UnsupportedModel
from compressor.loading.programs.aten.registry import apply
from compressor.loading.programs.builder import Builder
from compressor.loading.programs.values import Dim, Value, calculate

Handler = Callable[[Builder, Any, list[Any]], Any]


class Undecided(Exception):
    """A number depends on what the inputs hold."""


def number_of(thing: Any) -> Any:
    """A number out of whatever carries it.

    Raises:
        Undecided: it is calculated from data.
        UnsupportedModel: it decides something and differs between sizes of the inputs.
    """
    if isinstance(thing, Value):
        if not thing.constant or thing.tensor.numel() != 1:
            raise Undecided("it reads a number out of a tensor")
        return thing.tensor.item()
    if isinstance(thing, Dim) and isinstance(thing.runs[0], bool):
        raise UnsupportedModel("it goes different ways for different sizes of the inputs; fix them with --input")
    return thing


def _plain(function: Callable[..., Any]) -> Handler:
    """Arithmetic; where tensors take part, the tensor operator of the same name is used."""

    def handler(build: Builder, node: Any, args: list[Any]) -> Any:
        return calculate(function, *(number_of(arg) for arg in args))

    return handler


def _mixed(name: str, function: Callable[..., Any]) -> Handler:
    """An operator that exists for numbers and for tensors."""

    def handler(build: Builder, node: Any, args: list[Any]) -> Any:
        if isinstance(args[0], (list, tuple)) and name in ("eq", "ne"):
            equal = len(args[0]) == len(args[1]) and all(
                calculate(operator.eq, *pair) for pair in zip(*args, strict=True)
            )
            return equal == (name == "eq")
        counted = [arg for arg in args[:2] if isinstance(arg, (Value, list, tuple))]
        sizes = any(isinstance(arg, Dim) for arg in args)
        if all(not isinstance(arg, Value) for arg in counted) or (
            sizes and all(isinstance(arg, Value) and arg.constant and arg.tensor.numel() == 1 for arg in counted)
        ):
            return calculate(function, *(number_of(arg) for arg in args[:2]))
        return _tensor_operator(build, node, name, args)

    return handler


def _tensor_operator(build: Builder, node: Any, name: str, args: list[Any]) -> Any:
    schema = torch._C.parse_schema(node.schema())
    overload = getattr(getattr(torch.ops.aten, name), schema.overload_name or "default")
    n_positional = sum(not argument.kwarg_only for argument in overload._schema.arguments)
    names = [argument.name for argument in overload._schema.arguments[n_positional:]]
    given = [
        build.constant(torch.tensor(arg)) if isinstance(arg, (int, float)) and str(argument.type) == "Tensor" else arg
        for arg, argument in zip(args, overload._schema.arguments, strict=True)
    ]
    keywords = dict(zip(names, given[n_positional:], strict=True))
    return apply(build, overload, tuple(given[:n_positional]), keywords)


def _to_int(build: Builder, node: Any, args: list[Any]) -> Any:
    number = number_of(args[0])
    whole = isinstance(number, Dim) and all(isinstance(run, int) for run in number.runs)
    return number if whole else calculate(torch.sym_int, number)


def _to_float(build: Builder, node: Any, args: list[Any]) -> Any:
    number = number_of(args[0])
    return calculate(torch.sym_float, number) if isinstance(number, Dim) else float(number)


def _number_to_tensor(build: Builder, node: Any, args: list[Any]) -> Any:
    return args[0] if isinstance(args[0], Dim) else build.constant(torch.tensor(args[0]))


def _list(build: Builder, node: Any, args: list[Any]) -> Any:
    return list(args)


def _tuple(build: Builder, node: Any, args: list[Any]) -> Any:
    return tuple(args)


def _dict(build: Builder, node: Any, args: list[Any]) -> Any:
    return dict(zip(args[::2], args[1::2], strict=True))


def _unpack(build: Builder, node: Any, args: list[Any]) -> Any:
    items = list(args[0])
    return items[0] if node.outputsSize() == 1 else items


def _append(build: Builder, node: Any, args: list[Any]) -> Any:
    args[0].append(args[1])
    return args[0]


def _set_item(build: Builder, node: Any, args: list[Any]) -> Any:
    args[0][args[1]] = args[2]
    return args[0] if node.outputsSize() else ()


def _extend(build: Builder, node: Any, args: list[Any]) -> Any:
    args[0].extend(args[1])
    return ()


def _length(build: Builder, node: Any, args: list[Any]) -> Any:
    return build.size(args[0], 0) if isinstance(args[0], Value) else len(args[0])


def _slice(build: Builder, node: Any, args: list[Any]) -> Any:
    if isinstance(args[0], Value):
        return _tensor_operator(build, node, "slice", args)
    return args[0][slice(*args[1:])]


def _dim(build: Builder, node: Any, args: list[Any]) -> Any:
    return args[0].ndim


def _dtype(build: Builder, node: Any, args: list[Any]) -> Any:
    return args[0].dtype


def _device(build: Builder, node: Any, args: list[Any]) -> Any:
    return torch.device("cpu")


def _always(answer: Any) -> Handler:
    def handler(build: Builder, node: Any, args: list[Any]) -> Any:
        return answer

    return handler


def _is_floating(build: Builder, node: Any, args: list[Any]) -> Any:
    return args[0].dtype.is_floating_point


def _raise(build: Builder, node: Any, args: list[Any]) -> Any:
    raise UnsupportedModel(f"the file refuses these inputs: {args[0] if args else 'no reason given'}")


def _same(build: Builder, node: Any, args: list[Any]) -> Any:
    return args[0]


def _copy_or_write(build: Builder, node: Any, args: list[Any]) -> Any:
    return list(args[0]) if isinstance(args[0], (list, tuple)) else _tensor_operator(build, node, "copy", args)


def _format(build: Builder, node: Any, args: list[Any]) -> Any:
    return str(args[0])


def _copy(build: Builder, node: Any, args: list[Any]) -> Any:
    return list(args[0])


def _values(build: Builder, node: Any, args: list[Any]) -> Any:
    return list(args[0].values())


def _keys(build: Builder, node: Any, args: list[Any]) -> Any:
    return list(args[0])


def _items(build: Builder, node: Any, args: list[Any]) -> Any:
    return list(args[0].items())


def _contains(build: Builder, node: Any, args: list[Any]) -> Any:
    return args[1] in args[0]


def _isinstance(build: Builder, node: Any, args: list[Any]) -> Any:
    raise UnsupportedModel("it asks for the type of a value while it runs")


def _extreme(function: Callable[..., Any], symbolic: Callable[..., Any]) -> Handler:
    def handler(build: Builder, node: Any, args: list[Any]) -> Any:
        numbers = args[0] if len(args) == 1 else args
        result = number_of(numbers[0])
        for number in numbers[1:]:
            result = calculate(symbolic, result, number_of(number))
        return result

    return handler


def _derive(build: Builder, node: Any, args: list[Any]) -> Any:
    index, start, step = args
    return start + index * step


def _range_length(build: Builder, node: Any, args: list[Any]) -> Any:
    low, high, step = (number_of(arg) for arg in args)
    return len(range(low, high, step))


SCALARS: dict[str, Handler] = {
    "prim::ListConstruct": _list,
    "prim::TupleConstruct": _tuple,
    "prim::DictConstruct": _dict,
    "prim::ListUnpack": _unpack,
    "prim::TupleUnpack": _unpack,
    "prim::TupleIndex": _plain(operator.getitem),
    "prim::NumToTensor": _number_to_tensor,
    "prim::RaiseException": _raise,
    "prim::unchecked_cast": _same,
    "prim::unchecked_unwrap_optional": _same,
    "prim::Uninitialized": _always(None),
    "prim::Print": _always(()),
    "prim::dtype": _dtype,
    "prim::device": _device,
    "prim::type": _always("cpu"),
    "prim::layout": _always(torch.strided),
    "prim::is_cuda": _always(False),
    "prim::is_nested": _always(False),
    "prim::is_sparse": _always(False),
    "prim::is_quantized": _always(False),
    "prim::is_mkldnn": _always(False),
    "prim::is_meta": _always(False),
    "prim::requires_grad": _always(True),
    "prim::data": _same,
    "prim::isinstance": _isinstance,
    "prim::max": _extreme(max, torch.sym_max),
    "prim::min": _extreme(min, torch.sym_min),
    "aten::warn": _always(()),
    "aten::is_grad_enabled": _always(True),  # as in training: the fused operators of inference have no layers
    "aten::is_autocast_enabled": _always(False),
    "aten::is_autocast_cpu_enabled": _always(False),
    "aten::is_scripting": _always(True),
    "aten::is_floating_point": _is_floating,
    "aten::Int": _to_int,
    "aten::IntImplicit": _to_int,
    "aten::Float": _to_float,
    "aten::FloatImplicit": _to_float,
    "aten::Bool": _plain(bool),
    "aten::ScalarImplicit": _plain(lambda number: number),
    "aten::item": _plain(lambda number: number),
    "aten::len": _length,
    "aten::dim": _dim,
    "aten::append": _append,
    "aten::extend": _extend,
    "aten::list": _copy,
    "aten::_set_item": _set_item,
    "aten::__getitem__": lambda build, node, args: args[0][number_of(args[1])],
    "aten::__contains__": _contains,
    "aten::copy": _copy_or_write,
    "aten::values": _values,
    "aten::keys": _keys,
    "aten::items": _items,
    "aten::slice": _slice,
    "aten::format": _format,
    "aten::percentFormat": _format,
    "aten::str": _format,
    "aten::__range_length": _range_length,
    "aten::__derive_index": _derive,
    "aten::__is__": lambda build, node, args: args[0] is args[1],
    "aten::__isnot__": lambda build, node, args: args[0] is not args[1],
    "aten::__not__": _plain(operator.not_),
    "aten::floordiv": _plain(operator.floordiv),
    "aten::neg": _mixed("neg", operator.neg),
    "aten::add": _mixed("add", operator.add),
    "aten::sub": _mixed("sub", operator.sub),
    "aten::mul": _mixed("mul", operator.mul),
    "aten::div": _mixed("div", operator.truediv),
    "aten::floor_divide": _mixed("floor_divide", operator.floordiv),
    "aten::remainder": _mixed("remainder", operator.mod),
    "aten::eq": _mixed("eq", operator.eq),
    "aten::ne": _mixed("ne", operator.ne),
    "aten::lt": _mixed("lt", operator.lt),
    "aten::le": _mixed("le", operator.le),
    "aten::gt": _mixed("gt", operator.gt),
    "aten::ge": _mixed("ge", operator.ge),
    "aten::__and__": _mixed("__and__", lambda a, b: a and b if isinstance(a, bool) else a & b),
    "aten::__or__": _mixed("__or__", lambda a, b: a or b if isinstance(a, bool) else a | b),
    "aten::pow": _mixed("pow", operator.pow),
    "aten::sqrt": _mixed("sqrt", math.sqrt),
    "aten::floor": _mixed("floor", math.floor),
    "aten::ceil": _mixed("ceil", math.ceil),
}
