"""Dependencies from torch-pruning's graph (Fang et al., DepGraph, CVPR 2023, arXiv:2301.12900).

The one file that touches that library: it traces with autograd, follows its dependencies with every channel of a root
layer, and returns which positions of which layers belong to which channel. Its mistakes are caught later, by cutting.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch_pruning
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch_pruning.ops import OPTYPE

from compressor.core.errors import UnsupportedModel
from exporters.signature import ExampleInputs, flatten_outputs

_OPERATIONS = {OPTYPE.CONCAT, OPTYPE.SPLIT, OPTYPE.ELEMENTWISE, OPTYPE.RESHAPE, OPTYPE.UNBIND, OPTYPE.EXPAND}
_OPERATIONS |= {OPTYPE.SLICE, OPTYPE.OUTPUT, OPTYPE.CUSTOMIZED}


@dataclass(frozen=True)
class Touch:
    """A layer that torch-pruning would cut together with the root; `is_output` tells which of its sides."""

    layer: str  # module path, or parameter name if `parameter_axis` is set
    is_output: bool
    position: tuple[int, ...]
    channel: tuple[int, ...]  # root channel of each position
    parameter_axis: int | None = None


@dataclass(frozen=True)
class RawGroup:
    """One root layer with everything that hangs on its output channels."""

    root: str
    n_channels: int
    touches: tuple[Touch, ...]
    reaches_output: bool
    failure: str = ""  # the library could not follow the channels; then `touches` is empty


def raw_groups(model: nn.Module, inputs: ExampleInputs) -> list[RawGroup]:
    """Every group of the model; two of them may overlap where the library's graph is not symmetric.

    Raises:
        UnsupportedModel: the model cannot be traced with gradients.
    """
    with _traceable(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its advice on bare parameters and unknown operators; coverage tells ours
        graph = torch_pruning.DependencyGraph()
        try:
            graph.build_dependency(
                model,
                inputs,
                forward_fn=lambda module, example: example.call(module),
                output_transform=lambda output: [t for t in flatten_outputs(output) if t.grad_fn is not None],
                verbose=False,
            )
        except Exception as error:  # the library, or the model's own code, may raise anything
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
            raise UnsupportedModel(
                f"torch-pruning cannot trace the model's channels ({reason}). Where forward post-processes its "
                "outputs, wrap the model so that it returns the tensors before that; otherwise please report the model."
            ) from error
        names = {id(module): name for name, module in model.named_modules()}
        return list(_walk(graph, names))


def _walk(graph: torch_pruning.DependencyGraph, names: dict[int, str]) -> Iterator[RawGroup]:
    covered: dict[int, set[int]] = {}  # output channels that earlier groups hold
    for module, node in list(graph.module2node.items()):
        if not isinstance(module, (_ConvNd, nn.Linear, nn.Embedding)) or id(module) not in names:
            continue
        pruner = graph.get_pruner_of_module(module)
        n_channels = pruner.get_out_channels(module)
        if len(covered.get(id(module), ())) == n_channels:
            continue
        try:
            group = graph.get_pruning_group(module, pruner.prune_out_channels, list(range(n_channels)))
        except Exception as error:  # the library may raise anything
            failure = f"torch-pruning cannot follow its channels ({type(error).__name__}: {error})"
            yield RawGroup(names[id(module)], n_channels, (), reaches_output=False, failure=failure)
            continue
        touches, reaches_output = [], not node.outputs
        for item in group:
            target = item.dep.target
            is_output = graph.is_out_channel_pruning_fn(item.dep.handler)
            if target.type in _OPERATIONS:
                reaches_output |= target.type == OPTYPE.OUTPUT or not target.outputs
                continue
            position, channel = tuple(item.idxs), tuple(item.root_idxs)
            if target.type == OPTYPE.PARAMETER:
                name = graph._param_to_name[target.module]
                touches.append(Touch(name, True, position, channel, parameter_axis=target.pruning_dim))
                continue
            reaches_output |= is_output and not target.outputs
            if is_output:
                covered.setdefault(id(target.module), set()).update(position)
            touches.append(Touch(names[id(target.module)], is_output, position, channel))
        yield RawGroup(names[id(module)], n_channels, tuple(touches), reaches_output)


@contextmanager
def _traceable(model: nn.Module) -> Iterator[None]:
    """Gradients on, evaluation mode; everything is put back."""
    attributes = [(module, dict(vars(module))) for module in model.modules()]
    frozen = [p for p in model.parameters() if not p.requires_grad and p.is_floating_point()]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        with torch.enable_grad():
            yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
        for module, former in attributes:  # modes, and what a forward pass keeps on the module
            vars(module).clear()
            vars(module).update(former)
