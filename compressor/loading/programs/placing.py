"""Puts layers and tensors at their paths in a module tree, and takes away what nothing uses."""

from __future__ import annotations

import keyword
import re

import torch
from torch import Tensor, fx, nn

_NO_NAME = re.compile(r"\W+", re.ASCII)


def identifier(name: str) -> str:
    """`name` as Python can write it.

    >>> identifier("input.1"), identifier("3d"), identifier("class")
    ('input_1', '_3d', 'class_')
    """
    text = _NO_NAME.sub("_", name) or "x"
    if text[0].isdigit():
        text = f"_{text}"
    return f"{text}_" if keyword.iskeyword(text) else text


def path_of(name: str) -> str:
    """`name` as a module path: pieces that Python can write or numbers, joined by dots.

    >>> path_of("/layer1/0/Conv_output"), path_of("features.0.weight")
    ('layer1_0_Conv_output', 'features.0.weight')
    """
    pieces = [_NO_NAME.sub("_", piece).strip("_") for piece in name.split(".")]
    return ".".join(f"{piece}_" if keyword.iskeyword(piece) else piece for piece in pieces if piece) or "constant"


def add_layer(root: nn.Module, path: str, layer: nn.Module) -> str:
    """Registers `layer` at `path`, or near it where the path is taken; returns where."""
    parent, name = _parent(root, path_of(path))
    owner = root.get_submodule(parent)
    name = _free(owner, name)
    owner.add_module(name, layer)
    return f"{parent}.{name}" if parent else name


def add_tensor(root: nn.Module, path: str, tensor: Tensor) -> str:
    """Registers a parameter, or a tensor as a buffer, at `path` or near it; returns where."""
    parent, name = _parent(root, path_of(path))
    owner = root.get_submodule(parent)
    name = _free(owner, name)
    if isinstance(tensor, nn.Parameter):
        owner.register_parameter(name, tensor)
    else:
        owner.register_buffer(name, tensor)
    return f"{parent}.{name}" if parent else name


def _parent(root: nn.Module, path: str) -> tuple[str, str]:
    """The container for the last piece of `path`, made if need be; where a layer is in the way, a flat name."""
    *parents, name = path.split(".")
    owner = root
    for index, piece in enumerate(parents):
        child = owner._modules.get(piece)
        if child is None and not hasattr(owner, piece):
            child = nn.Module()
            owner.add_module(piece, child)
        if type(child) is not nn.Module:
            return ".".join(parents[:index]), "_".join([*parents[index:], name])
        owner = child
    return ".".join(parents), name


def _free(owner: nn.Module, name: str) -> str:
    if not hasattr(owner, name):
        return name
    number = 1
    while hasattr(owner, f"{name}_{number}"):
        number += 1
    return f"{name}_{number}"


def drop_unused_operators(graph: fx.Graph) -> None:
    """Removes what no output needs; operators that change a tensor in place stay."""
    for node in reversed(graph.nodes):
        if not node.users and node.op in ("call_function", "call_module", "get_attr") and not _changes_input(node):
            graph.erase_node(node)


def _changes_input(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return isinstance(schema, torch._C.FunctionSchema) and schema.is_mutable


def drop_unused_parts(root: nn.Module, graph: fx.Graph) -> None:
    """Removes layers, parameters and buffers that no operator refers to, then empty containers."""
    used = {str(node.target) for node in graph.nodes if node.op in ("call_module", "get_attr")}
    for path, module in list(root.named_modules(remove_duplicate=False)):
        if type(module) is not nn.Module:
            if path not in used and not any(name.startswith(f"{path}.") for name in used):
                _remove(root, path)
        else:
            for name in [*module._parameters, *module._buffers]:
                if (f"{path}.{name}" if path else name) not in used:
                    delattr(module, name)
    for path, module in reversed(list(root.named_modules())):
        if path and type(module) is nn.Module and not list(module.children()) and not module.state_dict():
            _remove(root, path)


def _remove(root: nn.Module, path: str) -> None:
    parent, _, name = path.rpartition(".")
    del root.get_submodule(parent)._modules[name]
