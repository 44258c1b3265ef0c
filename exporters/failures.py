"""Turns an exporter's pages of traceback into one sentence that names the operator and the place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from torch import nn

from exporters.errors import UnsupportedOperator

# What exporters call an operator: <OpOverload(op='aten.foo', overload='default')>, 'aten::foo', aten.foo.default
_OPERATOR = re.compile(r"op='(?P<a>[\w.]+)'|'(?P<b>\w+::\w+)'|\b(?P<c>(?:aten|prims|torchvision|quantized)\.\w+)")


def first_line(error: BaseException, limit: int = 200) -> str:
    """The first line of the error at the root of the chain, at most `limit` characters."""
    root = list(_chain(error))[-1]
    lines = [line.strip() for line in str(root).splitlines() if line.strip()]
    text = lines[0] if lines else type(root).__name__
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def unsupported(owner: str, error: BaseException, module: nn.Module, program: Any = None) -> UnsupportedOperator:
    """The error to raise for a model that `owner` cannot express.

    `program` is the torch.export program that was being converted, if there was one: its nodes know their layer.
    """
    operator = _operator(error)
    place = (_place_in_program(operator, program) if operator and program else "") or _place_in_stack(error, module)
    what = f"the operator '{operator}'{f' in {place}' if place else ''}" if operator else place or "the model"
    reason = f"cannot express {what} ({first_line(error).rstrip('.')})"
    return UnsupportedOperator(
        owner, reason, "Rewrite that part of `forward` with other operators, or choose another format."
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__


def _operator(error: BaseException) -> str:
    for link in reversed(list(_chain(error))):
        if found := _OPERATOR.search(str(link)):
            return next(group for group in found.groups() if group)
    return ""


def _place_in_program(operator: str, program: Any) -> str:
    """Module path of the first node that calls `operator`."""
    for node in program.graph.nodes:
        if node.op == "call_function" and str(node.target).startswith(operator.replace("::", ".")):
            for path, kind in reversed(list((node.meta.get("nn_module_stack") or {}).values())):
                return _named(path, getattr(kind, "__name__", str(kind)).rpartition(".")[2])
    return ""


def _place_in_stack(error: BaseException, module: nn.Module) -> str:
    """Module path and source line of the innermost `forward` that was running when the error was raised."""
    paths = {id(part): path for path, part in module.named_modules()}
    place = ""
    for link in _chain(error):
        trace = link.__traceback__
        while trace is not None:
            frame, code = trace.tb_frame, trace.tb_frame.f_code
            running = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None  # `self`
            if id(running) in paths and frame.f_globals.get("__name__") != "torch.nn.modules.module":
                file = PurePath(code.co_filename).name
                place = f"{_named(paths[id(running)], type(running).__name__)}, line {trace.tb_lineno} of {file}"
            trace = trace.tb_next
    return place


def _named(path: str, kind: str) -> str:
    return f"'{path}' ({kind})" if path else f"the outermost module ({kind})"
