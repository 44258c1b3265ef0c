"""The two properties that every generated network must have, for the tests and for the benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from compressor.core.copies import own_tensors
from compressor.core.groups import BlockedGroup, ChannelGroup
from compressor.graph.layers import makes_channels
from compressor.surgery.check import Reference
from compressor.surgery.cut import cut_copy
from compressor.surgery.expand import expand
from compressor.surgery.fitting import fit
from compressor.surgery.trial import try_groups
from exporters.signature import ExampleInputs
from tests.surgery.generated import Drawn

Keep = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Found:
    """What the graph and the trials say about one network."""

    reference: Reference
    groups: list[ChannelGroup]
    unfit: list[BlockedGroup]  # set aside: the cut network's code stops, or has sizes of its own that reach the outputs
    wrong: list[BlockedGroup]  # set aside: the cut network computes something else, and the graph is at fault
    n_channels: int  # made by all layers
    n_prunable: int  # of those, in a group


def find(model: nn.Module, x: Tensor) -> Found:
    """As a run does."""
    reference = Reference(model, ExampleInputs.of(x, model))
    graph, unfit = fit(reference)
    groups, broken = try_groups(reference, graph.groups, groups_at=graph.groups_at)
    reaching = [group for group in broken if "reach the model's outputs" in group.reason]
    wrong = [group for group in broken if group not in reaching]
    in_groups = {
        (axis.tensor, axis.axis, position)
        for group in groups
        for member in group.members
        for axis in member.axes
        for position in axis.position
    }
    makers = [
        (f"{layer}.{leaf}", axis, getattr(module, leaf).shape[axis])
        for layer, module in model.named_modules()
        for leaf, axis in [makes_channels(module)]
        if leaf
    ]
    prunable = sum((tensor, axis, p) in in_groups for tensor, axis, size in makers for p in range(size))
    return Found(reference, groups, [*unfit, *reaching], wrong, sum(size for _, _, size in makers), prunable)


def kept_sets(groups: Sequence[ChannelGroup], r: Random) -> dict[str, list[int]]:
    """Any kept set of every group, of one channel up to all."""
    return {g.name: sorted(r.sample(range(g.n_channels), r.randint(1, g.n_channels))) for g in groups}


def cutting_differs_from_masking(found: Found, keep: Keep) -> str:
    """How, or nothing if the two agree."""
    difference = found.reference.compare(found.groups, keep)
    exact = difference.equal and difference.dtype == "float64" and difference.max_rel < 1e-11
    return "" if exact else f"cutting differs from masking: {difference}"


def removing_zeros_changes_something(model: Drawn, x: Tensor, groups: Sequence[ChannelGroup], keep: Keep) -> str:
    """An oracle that knows nothing of masking: what makes or passes a channel is zeroed, then cut, on the same model.

    Norms over several channels see other statistics without a channel of zeros, so they are no part of it; neither are
    gates, which turn a zero into one half, but multiply a zero with it.
    """
    if model.sees_zeros:
        return ""
    model, x = own_tensors(model).double().eval(), x.double()
    state = dict(model.named_parameters()) | dict(model.named_buffers())
    with torch.no_grad():
        for group in groups:
            for axis in (axis for member in group.members for axis in member.axes if axis.tensor in state):
                gone = [p for p, c in zip(axis.position, axis.channel, strict=True) if c not in keep[group.name]]
                if not axis.tensor.endswith("running_var"):
                    state[axis.tensor].index_fill_(axis.axis, torch.tensor(gone, dtype=torch.int64), 0)
        small = cut_copy(model, *expand(groups, keep, model))
        outputs = tree_leaves(small(x)), tree_leaves(model(x))
    same = all(torch.allclose(a, b, rtol=1e-9, atol=1e-11) for a, b in zip(*outputs, strict=True))
    return "" if same else "removing channels that were zero changes the outputs"
