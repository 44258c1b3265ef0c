"""Makes torch's ONNX graph fit to be handed out: named axes, and nothing about the machine it was made on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any


def strip_metadata(model: Any) -> None:
    """Removes what torch notes at every node (module classes, traces with local paths); names stay.

    `model` is the onnx_ir model of a `torch.onnx.ONNXProgram`.
    """
    model.doc_string = None
    model.metadata_props.clear()
    graphs = [model.graph, *(function.graph for function in model.functions.values())]
    while graphs:
        graph = graphs.pop()
        graph.doc_string = None
        graph.metadata_props.clear()
        for value in (*graph.inputs, *getattr(graph, "initializers", {}).values()):
            value.doc_string = None
            value.metadata_props.clear()
        for node in graph:
            node.doc_string = None
            node.metadata_props.clear()
            for value in node.outputs:
                value.doc_string = None
                value.metadata_props.clear()
            for attribute in node.attributes.values():
                graphs += _subgraphs(attribute)


def name_axes(model: Any, axes: Sequence[Mapping[int, str]]) -> None:
    """Gives the inputs' symbols (s0, s77, ...) the names in `axes`, also inside expressions.

    `axes` has, per input, axis -> name; axes that came out fixed are passed over.
    """
    names: dict[str, str] = {}
    for value, named in zip(model.graph.inputs, axes, strict=False):
        for axis, name in named.items():
            symbol = getattr(value.shape[axis], "value", value.shape[axis])
            if isinstance(symbol, str):
                names.setdefault(symbol, name)
    words = re.compile("|".join(rf"\b{re.escape(symbol)}\b" for symbol in names) or r"(?!)")
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    for value in values:
        if value.shape is None:
            continue
        sizes = [dim if isinstance(dim, int) else dim.value for dim in value.shape]
        if any(isinstance(size, str) and words.search(size) for size in sizes):
            renamed = [words.sub(lambda found: names[found[0]], s) if isinstance(s, str) else s for s in sizes]
            value.shape = type(value.shape)(renamed)


def _subgraphs(attribute: Any) -> list[Any]:
    kind = getattr(attribute.type, "name", "")
    if kind == "GRAPH":
        return [attribute.value]
    return list(attribute.value) if kind == "GRAPHS" else []
