"""Torch-pruning's criteria on the same models, to the same MACs.

It prunes the inner channels of the blocks only: its graph breaks on the padded shortcut, so every layer that adds to a
residual stream is on its list of ignored layers. The pruning ratio is found by bisection.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch_pruning
from torch import nn
from torch_pruning import importance

from compressor.core.groups import ChannelGroup, Role
from compressor.data.batches import CalibrationBatches
from compressor.profiling.machine import cpu_model
from compressor.runs.choose import SCORING_BATCH_SIZE, SCORING_BATCHES
from method_parts.cells import Choice, Chosen
from method_parts.subject import Subject

PREFIX = "torch-pruning:"
INNER, INNER_GLOBAL = "inner", "inner-global"
ALLOCATIONS = (INNER, INNER_GLOBAL)
TOLERANCE = 0.025  # of the budget: a model that is larger by so much still counts, since widths are whole numbers
SMALLEST_STEP = 1e-3  # of the pruning ratio


class CannotPrune(Exception):
    """Torch-pruning has no model for the table; the text is the sentence."""


@dataclass(frozen=True)
class Criterion:
    """How to make the importance, and what it needs."""

    make: Callable[[], object]
    needs: frozenset[str] = frozenset()


CRITERIA = {
    "l1": Criterion(lambda: importance.MagnitudeImportance(p=1)),
    "l2": Criterion(lambda: importance.MagnitudeImportance(p=2)),
    "bn_scale": Criterion(importance.BNScaleImportance, frozenset({"norm"})),
    "lamp": Criterion(importance.LAMPImportance),
    "fpgm": Criterion(importance.FPGMImportance),
    "taylor": Criterion(importance.TaylorImportance, frozenset({"data", "labels"})),
}


def decide(subject: Subject, choice: Choice) -> Chosen:
    """The ratio whose MACs come nearest to the budget; the time is that of one pruning at that ratio.

    Raises:
        CannotPrune: no ratio reaches the budget.
    """
    whole = subject.macs()
    gradients = _gradients(subject, choice)

    def share(ratio: float) -> float:
        return subject.macs(_pruned(subject, choice, ratio, gradients)) / whole

    low, high = 0.0, _largest_ratio(subject)
    reached = share(high)
    if reached > choice.budget * (1 + TOLERANCE):
        raise CannotPrune(f"torch-pruning cannot reach the budget: {reached:.1%} of the MACs stay at ratio {high:.3f}.")
    above = 1.0  # the share at `low`
    while high - low > SMALLEST_STEP:
        middle = (low + high) / 2
        found = share(middle)
        if found > choice.budget:
            low, above = middle, found
        else:
            high, reached = middle, found
    ratio, macs = (low, above) if above <= choice.budget * (1 + TOLERANCE) else (high, reached)
    start = time.perf_counter()
    _pruned(subject, choice, ratio, _gradients(subject, choice))
    return Chosen(choice, time.perf_counter() - start, macs, pruning_ratio=ratio, cpu=cpu_model())


def cut(subject: Subject, chosen: Chosen) -> nn.Module:
    """The small model."""
    return _pruned(subject, chosen.choice, chosen.pruning_ratio, _gradients(subject, chosen.choice))


def _pruned(subject: Subject, choice: Choice, ratio: float, gradients: dict[str, torch.Tensor]) -> nn.Module:
    small = copy.deepcopy(subject.source.module)
    for name, parameter in small.named_parameters():
        parameter.grad = gradients[name].clone() if gradients else None
    inner = inner_layers(subject)
    layers = [m for n, m in small.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear)) and n not in inner]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # notes on parameters that it leaves alone
        pruner = torch_pruning.pruner.MetaPruner(
            small,
            subject.source.inputs.tensors[0],
            importance=CRITERIA[choice.method.removeprefix(PREFIX)].make(),
            global_pruning=choice.allocation == INNER_GLOBAL,
            pruning_ratio=ratio,
            ignored_layers=layers,
        )
        pruner.step()
    small.zero_grad(set_to_none=True)
    return small


def _largest_ratio(subject: Subject) -> float:
    """One channel of the narrowest layer stays: torch-pruning leaves a layer whole that would lose all of them."""
    return 1 - 1 / min(group.n_channels for group in _inner_groups(subject))


def inner_layers(subject: Subject) -> set[str]:
    """Those that torch-pruning may cut."""
    return {group.having(Role.PRODUCER)[0].layer for group in _inner_groups(subject)}


def _inner_groups(subject: Subject) -> list[ChannelGroup]:
    """Those whose channels one layer makes."""
    found = [group for group in subject.whole[1].groups if len(group.having(Role.PRODUCER)) == 1]
    if not found:
        raise CannotPrune("torch-pruning has nothing to prune: every channel is part of a residual stream.")
    return found


def _gradients(subject: Subject, choice: Choice) -> dict[str, torch.Tensor]:
    """Of the loss on as many images as our own criteria see; empty where the criterion needs none."""
    if "labels" not in CRITERIA[choice.method.removeprefix(PREFIX)].needs:
        return {}
    model = copy.deepcopy(subject.source.module)
    n_images = SCORING_BATCHES * SCORING_BATCH_SIZE
    for inputs, labels in CalibrationBatches(subject.data.train, n_images, SCORING_BATCH_SIZE, choice.seed):
        torch.nn.functional.cross_entropy(model(inputs), labels).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}
