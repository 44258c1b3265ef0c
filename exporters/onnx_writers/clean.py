"""Makes torch's ONNX graph fit to be handed out: a named batch axis, and nothing about the machine it was made on."""

from __future__ import annotations

import re
from typing import Any

BATCH = "batch"


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


def name_batch_axis(model: Any) -> None:
    """Calls axis 0 of the inputs "batch" wherever its symbol (s0, s77, ...) stands, also inside expressions."""
    symbol = str(model.graph.inputs[0].shape[0].value)
    word = re.compile(rf"\b{re.escape(symbol)}\b")
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    for value in values:
        if value.shape is None:
            continue
        sizes = [dim if isinstance(dim, int) else dim.value for dim in value.shape]
        if any(isinstance(size, str) and word.search(size) for size in sizes):
            value.shape = type(value.shape)([word.sub(BATCH, s) if isinstance(s, str) else s for s in sizes])


def _subgraphs(attribute: Any) -> list[Any]:
    kind = getattr(attribute.type, "name", "")
    if kind == "GRAPH":
        return [attribute.value]
    return list(attribute.value) if kind == "GRAPHS" else []
