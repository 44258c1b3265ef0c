"""Turns an exporter's pages of traceback into one sentence that names the operator and the place."""

from __future__ import annotations

import re
from collections.abc import Iterator
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
    place = (operator and program is not None and _place_in_program(operator, program)) or _place_in_stack(
        error, module
    )
    what = f"cannot express the operator '{operator}'" if operator else "cannot express the model"
    where = f" in {place}" if place else ""
    return UnsupportedOperator(
        f"{owner}: {what}{where} ({first_line(error).rstrip('.')}). "
        "Rewrite that part of `forward` with other operators, or choose another format."
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
                name = getattr(kind, "__name__", str(kind)).rpartition(".")[2]
                return f"'{path}' ({name})" if path else f"the model itself ({name})"
    return ""


def _place_in_stack(error: BaseException, module: nn.Module) -> str:
    """Module path of the innermost `forward` that was running when the error was raised."""
    paths = {id(part): path for path, part in module.named_modules()}
    place = ""
    for link in _chain(error):
        trace = link.__traceback__
        while trace is not None:
            running = trace.tb_frame.f_locals.get("self")
            if id(running) in paths:
                path = paths[id(running)]
                place = (
                    f"'{path}' ({type(running).__name__})" if path else f"the model itself ({type(running).__name__})"
                )
            trace = trace.tb_next
    return place
