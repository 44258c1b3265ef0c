"""The pre-flight: what may be pruned, what may not and why, found before anything is cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from compressor.core.errors import NothingPrunable, UnsupportedModel
from compressor.core.groups import BlockedGroup, Coverage, ModelCost
from compressor.core.progress import Progress, SilentProgress
from compressor.graph.cost import group_macs, measure_cost, prunable_share, with_products
from compressor.surgery.check import Reference
from compressor.surgery.fitting import fit
from compressor.surgery.suspects import blocked_group
from compressor.surgery.trial import try_groups
from exporters.signature import ExampleInputs

WARN_BELOW = 0.20  # of the MACs
REFUSE_BELOW = 0.01


def cover(
    model: nn.Module,
    inputs: ExampleInputs,
    ignore: Sequence[str] = (),
    seed: int = 0,
    progress: Progress | None = None,
    prune: Sequence[str] = (),
    needed: bool = True,
) -> Coverage:
    """Groups that may lose channels, each tried on a copy, and the rest with its reason.

    Args:
        model: left as it is.
        inputs: run a few times.
        ignore: patterns of layers whose channels stay.
        seed: of the trials.
        progress: told of the steps.
        prune: kinds of dimensions that may shrink; all where none is named.
        needed: channels are to be cut; else little or nothing to prune is no news.

    Raises:
        UnsupportedModel: no convolution or linear layer, a weight is NaN or infinite, or the model does not run on
            `inputs` or cannot be traced.
        NothingPrunable: where `needed`, no group is left, or those that are hold under 1 % of the MACs; the sentence
            holds the reasons.
    """
    listener = progress or SilentProgress()
    if not any(isinstance(module, (_ConvNd, nn.Linear)) for module in model.modules()):
        kinds = sorted({type(m).__name__ for m in model.modules() if not any(m.children())})
        raise UnsupportedModel(
            f"The model has no convolution or linear layer, so it has no channels to prune "
            f"(it holds {', '.join(kinds[:5])})."
        )
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise UnsupportedModel(
                f"{name} holds NaN or infinite weights. Pass a model whose training did not diverge."
            )
    with listener.step("Following the channels"):
        cost = _cost(model, inputs)
        reference = Reference(model, inputs)
        graph, unfit = fit(reference, ignore, seed)
    cost = with_products(cost, graph.products)
    groups, broken = try_groups(reference, graph.groups, seed, listener, graph.groups_at)
    others = [group for group in groups if prune and group.kind not in prune]
    kept = [blocked_group(g, f"it is of kind {g.kind}, and --prune names {', '.join(prune)}.") for g in others]
    groups = [group for group in groups if group not in others]
    found = [_with_macs(group, cost) for group in [*graph.blocked, *unfit, *broken, *kept]]
    share = prunable_share(groups, cost)
    if needed and share < REFUSE_BELOW:
        found.sort(key=lambda group: -group.macs)
        reasons = "; ".join(f"{group.name or type(model).__name__}: {group.reason}" for group in found[:3])
        much = f"Only {share:.1%} of the MACs" if groups else "Nothing"
        raise NothingPrunable(f"{much} can be pruned. {reasons or 'The graph holds no group of channels.'}")
    coverage = Coverage(tuple(groups), tuple(found), cost, share, group_macs(groups, cost), graph.tied)
    if needed and coverage.prunable_macs_share < WARN_BELOW:
        listener.note(
            f"Only {coverage.prunable_macs_share:.0%} of the MACs can be pruned; `compress inspect` says why."
        )
    return coverage


def without(coverage: Coverage, wrong: Sequence[BlockedGroup]) -> Coverage:
    """The coverage when these groups turn out to be wrong.

    Raises:
        NothingPrunable: no group is left.
    """
    names = {group.name for group in wrong}
    groups = [group for group in coverage.groups if group.name not in names]
    if not groups:
        raise NothingPrunable("Nothing can be pruned. " + "; ".join(f"{g.name}: {g.reason}" for g in wrong[:3]))
    return Coverage(
        tuple(groups),
        (*coverage.blocked, *(_with_macs(group, coverage.cost) for group in wrong)),
        coverage.cost,
        prunable_share(groups, coverage.cost),
        group_macs(groups, coverage.cost),
        coverage.tied,
    )


def _cost(model: nn.Module, inputs: ExampleInputs) -> ModelCost:
    try:
        return measure_cost(model, inputs)
    except Exception as error:  # a user's forward may raise anything
        shapes = ", ".join(f"{n} {tuple(t.shape)}" for n, t in zip(inputs.names, inputs.tensors, strict=True))
        reason = f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]}"
        raise UnsupportedModel(
            f"The model does not run on its example inputs, {shapes} ({reason}). Give inputs that it accepts."
        ) from error


def _with_macs(group: BlockedGroup, cost: ModelCost) -> BlockedGroup:
    names = {f"{layer}.weight" for layer in group.layers}
    macs = 0.0
    for weight in cost.weights:
        if weight.tensor in names:
            numel = 1
            for size in weight.shape:
                numel *= size
            macs += weight.macs_per_element * numel
    return replace(group, macs=round(macs))
