"""Names of weights and places in an ONNX file, as near to the original module's as the file tells."""

from __future__ import annotations

import re

import onnx
import torch

from exporters.module_names import SCOPES, scope_in, scope_noted

_NUMBERED = re.compile(r"_\d+$")
_MADE_UP = re.compile(r"^(onnx::|val_|_val|const_|constant|/|\d+$|[A-Za-z_]*Constant)")


def scope_of(node: onnx.NodeProto) -> str:
    """The module path in a node's name: "/layer1/layer1.0/conv1/Conv" stands in `layer1.0.conv1`.

    torch's newer exporter keeps it in the node's metadata instead.
    """
    for item in node.metadata_props:
        if item.key == SCOPES:
            return scope_noted(item.value)
    return scope_in(node.name)


def readable(name: str) -> str:
    """The name of a weight; empty where the exporter made it up, so that the operator's place counts instead.

    >>> readable("layer1.0.conv1.weight"), readable("onnx::Conv_497"), readable("unsqueeze_3")
    ('layer1.0.conv1.weight', '', '')
    """
    operator = _NUMBERED.sub("", name)
    made_up = _MADE_UP.match(name) or ("." not in name and hasattr(torch.ops.aten, operator))
    return "" if made_up else name
