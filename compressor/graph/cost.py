"""MACs and parameters: counted once on the whole model, predicted for any widths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.utils.flop_counter import FlopCounterMode

from compressor.core.groups import ChannelGroup, ModelCost, Role, WeightCost
from exporters.signature import ExampleInputs


def measure_cost(model: nn.Module, inputs: ExampleInputs) -> ModelCost:
    """Runs the model once and counts multiply-accumulates per one input of the batch, and parameters.

    Convolutions and linear layers are attributed to their weights; the rest of what PyTorch's own counter sees
    (attention's products, functional calls) is `fixed_macs`.
    """
    per_weight: Counter[str] = Counter()

    def count(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            if isinstance(module, _ConvTransposeNd):
                uses = args[0].numel() // module.in_channels
            elif isinstance(module, _ConvNd):
                uses = output.numel() // module.out_channels
            else:
                uses = output.numel() // output.shape[-1]
            per_weight[f"{name}.weight" if name else "weight"] += uses

        return hook

    with ExitStack() as stack:
        for name, module in model.named_modules():
            if isinstance(module, (_ConvNd, nn.Linear)):
                stack.callback(module.register_forward_hook(count(name)).remove)
        stack.enter_context(evaluating(model))
        counter = stack.enter_context(FlopCounterMode(display=False))
        inputs.call(model)
    batch = inputs.batch_size
    weights = tuple(
        WeightCost(name, tuple(p.shape), per_weight[name] / batch) for name, p in model.named_parameters() if p.numel()
    )
    in_weights = sum(w.macs_per_element * _numel(w.shape) for w in weights)
    total = counter.get_total_flops() / 2 / batch
    fixed = max(0, round(total - in_weights))
    return ModelCost(round(in_weights) + fixed, sum(p.numel() for p in model.parameters()), weights, fixed)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients, and without attention's fused path, which no counter or hook can see into."""
    modes = {module: module.training for module in model.modules()}
    fused = torch.backends.mha.get_fastpath_enabled()
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for module, training in modes.items():
            module.training = training


def group_macs(groups: Sequence[ChannelGroup], cost: ModelCost) -> dict[str, int]:
    """MACs of the layers that make each group's channels (its share of a layer that several groups make)."""
    by_tensor = {w.tensor: w for w in cost.weights}
    found: dict[str, int] = {}
    for group in groups:
        total = 0.0
        for member in group.members:
            for axis in member.axes if member.role is not Role.CONSUMER else ():
                weight = by_tensor.get(axis.tensor)
                if weight is not None:
                    total += (
                        weight.macs_per_element * _numel(weight.shape) * len(axis.position) / weight.shape[axis.axis]
                    )
        found[group.name] = round(total)
    return found


def prunable_share(groups: Sequence[ChannelGroup], cost: ModelCost) -> float:
    """Share of all MACs in weights that lose something when the groups do."""
    touched = {axis.tensor for group in groups for member in group.members for axis in member.axes}
    macs = sum(w.macs_per_element * _numel(w.shape) for w in cost.weights if w.tensor in touched)
    return macs / cost.macs if cost.macs else 0.0


class CostModel:
    """Predicts MACs and parameters from how many channels each group keeps, without touching the model."""

    def __init__(self, cost: ModelCost, groups: Sequence[ChannelGroup]) -> None:
        self.cost = cost
        self._sizes = {group.name: group.n_channels for group in groups}
        # (tensor, axis) -> the groups that shorten it, with how many positions go with each channel
        self._losses: dict[tuple[str, int], list[tuple[str, float]]] = {}
        for group in groups:
            for member in group.members:
                for axis in member.axes:
                    per_channel = len(axis.position) / group.n_channels
                    self._losses.setdefault((axis.tensor, axis.axis), []).append((group.name, per_channel))

    def predict(self, n_keep: Mapping[str, int]) -> tuple[float, float]:
        """(MACs, parameters) when group `name` keeps `n_keep[name]` channels; groups not named stay whole."""
        macs, params = float(self.cost.fixed_macs), 0.0
        for weight in self.cost.weights:
            numel = 1.0
            for axis, size in enumerate(weight.shape):
                losses = self._losses.get((weight.tensor, axis), ())
                lost = sum((self._sizes[name] - n_keep.get(name, self._sizes[name])) * each for name, each in losses)
                numel *= size - lost
            macs += weight.macs_per_element * numel
            params += numel
        return macs, params


def _numel(shape: Sequence[int]) -> int:
    n = 1
    for size in shape:
        n *= size
    return n
