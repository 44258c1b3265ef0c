"""Which of a file's nodes, and with them whose module's, a node of ONNX Runtime's optimised graph stands for.

ONNX Runtime names what it fuses after the parts:

    /layer1.0.conv1/Conv                      a node that it left alone
    /a.attention/MatMul/MatMulScaleFusion/    a fused one: the first part's name, then the fusion's
    relu_1_nchwc, relu_1_nchwc_token_7        one in its blocked layout: the value that it computed then
    ReorderOutput_token_3                     a change of layout, which no module asked for
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import onnx

from compressor.core.node_times import NodeTime
from exporters.module_names import owner_of_weights, scope_in

LAYOUT = "(layout)"  # in place of a module
_BLOCKED = re.compile(r"^(.+)_nchwc(?:_token_\d+)?$")
_REORDER = ("ReorderInput", "ReorderOutput")


class OnnxModules:
    """The nodes of an ONNX file, found again."""

    def __init__(self, path: Path) -> None:
        graph = onnx.load(str(path), load_external_data=False).graph
        self._nodes = {node.name: node for node in graph.node if node.name}
        self._weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        self._producers = {value: node for node in graph.node for value in node.output if value}

    def add_to(self, nodes: tuple[NodeTime, ...]) -> tuple[NodeTime, ...]:
        """The same nodes with their sources and modules, as far as the names tell.

        What ONNX Runtime adds without a name of the file's (a reshape around a product) goes to the module that is
        next to be computed.
        """
        found: list[NodeTime] = []
        following = ""
        for node in reversed(nodes):
            source = self._source(node)
            if node.operator in _REORDER:
                found.append(replace(node, module=LAYOUT))
                continue
            if source is not None:
                following = scope_in(source.name) or owner_of_weights(source.input)
                node = replace(self._as_in_the_file(node, source), sources=(source.name or source.output[0],))
            found.append(replace(node, module=following))
        return tuple(reversed(found))

    def _as_in_the_file(self, node: NodeTime, source: onnx.NodeProto) -> NodeTime:
        """With the weight as the file has it: ONNX Runtime pads some, and does not list what it has packed."""
        weight = self._weights.get(source.input[1], ()) if len(source.input) > 1 else ()
        if source.op_type not in ("Conv", "Gemm", "MatMul") or not weight or not node.inputs or not node.outputs:
            return node
        outputs = node.outputs
        if source.op_type == "Conv":
            outputs = ((outputs[0][0], weight[0], *outputs[0][2:]), *outputs[1:])
        others = node.inputs[1:]
        if others and len(others[0]) == len(weight) and others[0][-1] == weight[-1]:
            others = others[1:]
        return replace(node, inputs=(node.inputs[0], weight, *others), outputs=outputs)

    def _source(self, node: NodeTime) -> onnx.NodeProto | None:
        if node.name in self._nodes:
            return self._nodes[node.name]
        blocked = _BLOCKED.match(node.name)
        if blocked:
            return self._behind(blocked[1], node.operator)
        parts = node.name.split("/")
        for n in range(len(parts) - 1, 0, -1):
            name = "/".join(parts[:n])
            if name in self._nodes:
                return self._nodes[name]
        return None

    def _behind(self, value: str, operator: str) -> onnx.NodeProto | None:
        """The node of that kind whose result, perhaps after an activation, is `value`."""
        last = producer = self._producers.get(value)
        while producer is not None and producer.op_type != operator:
            producer = next((self._producers[name] for name in producer.input if name in self._producers), None)
        return producer or last
