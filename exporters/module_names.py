"""The user's module in the name of an ONNX node: "/layer1.0.conv2/Conv" stands in `layer1.0.conv2`.

Node names are all that runtimes keep of a file when they report about it (OpenVINO keeps them in its own format too).
torch's tracing exporter names nodes "/layer1/layer1.0/conv1/Conv"; its newer one numbers them and notes the module
beside, with traces that hold local paths, which are not to be handed out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

SCOPES = "pkg.torch.onnx.name_scopes"  # torch's note: "['', 'layer1', 'layer1.0', 'relu_3']"
_FUSED = "pkg.onnxscript.rewriter.rule_name"
NOWHERE = "_empty_nn_module_stack_from_metadata_hook"  # torch's word for its own additions
_WEIGHT = re.compile(r"^(.+)\.(?:weight|bias|running_mean|running_var)$")


def scope_in(node_name: str) -> str:
    """The module's dotted path in a node's name; empty if it holds none.

    >>> scope_in("/layer1/layer1.0/conv1/Conv"), scope_in("/layer1.0.conv1/Conv_1"), scope_in("node_Conv_3")
    ('layer1.0.conv1', 'layer1.0.conv1', '')
    """
    path: list[str] = []
    for piece in (piece for piece in node_name.split("/")[1:-1] if piece):
        if path and piece.startswith(f"{path[-1]}."):  # "layer1.0" says where it is in "layer1"
            path[-1] = piece
        else:
            path.append(piece)
    return ".".join(path)


def scope_noted(note: str) -> str:
    """The module in torch's note of scopes; the last one is the operator's own name.

    >>> scope_noted("['', 'layer1', 'layer1.0', 'relu_3']")
    'layer1.0'
    """
    scopes = re.findall(r"'([^']*)'", note)[:-1]
    return scopes[-1] if scopes and scopes[-1] != NOWHERE else ""


def owner_of_weights(names: Iterable[str]) -> str:
    """The module whose weight or bias is among `names`; empty if there is none.

    >>> owner_of_weights(["x", "layer1.0.conv1.weight"])
    'layer1.0.conv1'
    """
    return next((found[1] for found in map(_WEIGHT.match, names) if found), "")


class NodeNames:
    """Gives out names with a scope, each once."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def make(self, scope: str, operator: str) -> str:
        """ "/scope/operator", with a number where that is taken."""
        name = plain = f"/{scope}/{operator}" if scope else f"/{operator}"
        number = 0
        while name in self._given:
            number += 1
            name = f"{plain}_{number}"
        self._given.add(name)
        return name


def name_by_module(model: Any) -> None:
    """Names the nodes of an onnx_ir model after the modules that torch notes at them.

    A node that a fusion made (convolution + batch norm) bears the note of the last; its weight tells whose it is. The
    weights of other nodes tell less: those of equal values have become one.
    """
    names = NodeNames()
    for node in model.graph:
        weights = [value.name for value in node.inputs if value is not None and value.is_initializer()]
        noted = scope_noted(node.metadata_props.get(SCOPES, ""))
        owner = owner_of_weights(weights) if _FUSED in node.metadata_props else ""
        node.name = names.make(owner or noted, node.op_type)


def scopes_by_value(path: Any) -> dict[str, str]:
    """{value: module that computes it} of an ONNX file."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    return {name: scope_in(node.name) for node in model.graph.node for name in node.output if name}


def name_new_nodes(path: Any, scopes: Mapping[str, str]) -> None:
    """Names what a simplifier has added to an ONNX file: for the value that it helps to compute.

    Args:
        path: of the file, changed in place.
        scopes: {value: module}, as it was before.
    """
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    nodes = list(model.graph.node)
    found = spread(
        [list(n.input) for n in nodes], [list(n.output) for n in nodes], lambda i: scopes.get(nodes[i].output[0])
    )
    names = NodeNames()
    for node, scope in zip(nodes, found, strict=True):
        # Nearer still: a product that took over a layer's bias. One of another block is a bias of the same values.
        owner = "" if node.output[0] in scopes else owner_of_weights(node.input)
        inside = owner.startswith(f"{scope}.") if scope else bool(owner)
        node.name = names.make(owner if inside else scope, node.op_type)
    path.write_bytes(model.SerializeToString())


def spread(
    inputs: Sequence[Sequence[str]], outputs: Sequence[Sequence[str]], known: Callable[[int], str | None]
) -> list[str]:
    """A module for every node: its own, else that of the nearest node that reads what it computes.

    Args:
        inputs: per node in the order of execution, the values that it reads.
        outputs: the same, that it computes.
        known: the module of node i; None if that is not known.
    """
    readers: dict[str, int] = {}
    found = [""] * len(inputs)
    for i in reversed(range(len(inputs))):
        scope = known(i)
        if scope is None:
            reader = min((readers[value] for value in outputs[i] if value in readers), default=None)
            scope = found[reader] if reader is not None else ""
        found[i] = scope
        readers.update(dict.fromkeys(inputs[i], i))
    return found
