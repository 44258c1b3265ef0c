"""Names of weights and places in an ONNX file, as near to the original module's as the file tells."""

from __future__ import annotations

import re

import onnx
import torch

_NUMBERED = re.compile(r"_\d+$")
_MADE_UP = re.compile(r"^(onnx::|val_|_val|const_|constant|/|\d+$|[A-Za-z_]*Constant)")


def scope_of(node: onnx.NodeProto) -> str:
    """The module path in a node's name: "/layer1/layer1.0/conv1/Conv" stands in `layer1.0.conv1`.

    torch's newer exporter keeps it in the node's metadata instead.
    """
    for item in node.metadata_props:
        if item.key == "pkg.torch.onnx.name_scopes":
            scopes = re.findall(r"'([^']*)'", item.value)[:-1]  # the last one is the operator's own name
            return scopes[-1] if scopes else ""
    pieces = [piece for piece in node.name.split("/")[1:-1] if piece]
    path: list[str] = []
    for piece in pieces:
        if path and piece.startswith(f"{path[-1]}."):  # "layer1.0" says where it is in "layer1"
            path[-1] = piece
        else:
            path.append(piece)
    return ".".join(path)


def readable(name: str) -> str:
    """The name of a weight; empty where the exporter made it up, so that the operator's place counts instead.

    >>> readable("layer1.0.conv1.weight"), readable("onnx::Conv_497"), readable("unsqueeze_3")
    ('layer1.0.conv1.weight', '', '')
    """
    operator = _NUMBERED.sub("", name)
    made_up = _MADE_UP.match(name) or ("." not in name and hasattr(torch.ops.aten, operator))
    return "" if made_up else name
