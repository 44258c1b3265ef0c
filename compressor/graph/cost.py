"""MACs and parameters: counted once on the whole model, predicted for any widths."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from compressor.core.groups import ChannelGroup, ModelCost, ProductCost, Role, SharedPositions, WeightCost
from compressor.graph.origins import Origins
from exporters.signature import ExampleInputs

ATTENTION = "aten::_scaled_dot_product"  # queries, keys and values come first, (..., heads, positions, size)


def measure_cost(model: nn.Module, inputs: ExampleInputs) -> ModelCost:
    """Runs the model once and counts multiply-accumulates per one input of the batch, and parameters.

    Each product is attributed to the weight that is part of it, whoever calls it (a layer, a functional call); products
    of activations (attention) are `fixed_macs` until `with_products` says which groups they shrink with.
    """
    counter = _MacCounter(model)
    with evaluating(model), torch.random.fork_rng(devices=[]), counter:
        inputs.call(model)
    batch = inputs.batch_size
    weights = tuple(
        WeightCost(name, tuple(p.shape), counter.macs[name] / p.numel() / batch)
        for name, p in model.named_parameters()
        if p.numel()
    )
    fixed = round(counter.macs[""] / batch)
    in_weights = sum(w.macs_per_element * _numel(w.shape) for w in weights)
    return ModelCost(round(in_weights) + fixed, sum(p.numel() for p in model.parameters()), weights, fixed)


def with_products(cost: ModelCost, products: Sequence[ProductCost]) -> ModelCost:
    """The same cost, with those products of activations that groups change apart from what is fixed."""
    fixed = cost.fixed_macs - sum(product.macs for product in products)
    return replace(cost, fixed_macs=max(0, round(fixed)), products=tuple(products))


def product_of(func: Any, args: Any, kwargs: Any, result: Any, origins: Origins) -> tuple[int, str] | None:
    """(multiply-accumulates, the parameter that takes part or "") of an executed operator; None if it has none."""
    if func._schema.name.startswith(ATTENTION):
        return _attention_macs(*args[:3]), ""
    count = flop_registry.get(func._overloadpacket)
    if count is None:
        return None
    weights = [tensor for tensor in _operands(func, args, kwargs) if tensor.dim() > 1 and origins.of(tensor)]
    name = origins.of(max(weights, key=lambda tensor: tensor.numel())) if weights else ""
    return count(*args, **kwargs, out_val=result) // 2, name


def _attention_macs(queries: Tensor, keys: Tensor, values: Tensor) -> int:
    """Queries by keys, and their weights by values. torch's own registry knows some of these operators only."""
    n_queries = queries.numel() // queries.shape[-1]  # of all heads and inputs
    return n_queries * keys.shape[-2] * (queries.shape[-1] + values.shape[-1])


def _operands(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """The tensors that are multiplied with each other; biases of more than one axis are not among them."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    name = func._schema.name.rpartition("::")[2]
    if "attention" in name:
        return tensors[:3]
    return tensors[1:3] if name in ("addmm", "baddbmm", "addbmm") else tensors


class _MacCounter(TorchDispatchMode):
    """Adds up the multiply-accumulates of every product, by the parameter that takes part ("" for none)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.macs: Counter[str] = Counter()
        self._origins = Origins(model)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        product = product_of(func, args, kwargs or {}, result, self._origins)
        if product is not None:
            self.macs[product[1]] += product[0]
        self._origins.follow(tensors, [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)])
        return result


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients, and without the fused paths of attention and of recurrent layers, which no
    counter or hook can see into."""
    modes = {module: module.training for module in model.modules()}
    attention, recurrent = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    if any(isinstance(module, nn.RNNBase) for module in modes):
        torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(attention)
        torch.backends.mkldnn.enabled = recurrent
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
    """Share of all MACs in weights and products that lose something when the groups do."""
    touched = {axis.tensor for group in groups for member in group.members for axis in member.axes}
    macs = sum(w.macs_per_element * _numel(w.shape) for w in cost.weights if w.tensor in touched)
    names = {group.name for group in groups}
    for product in cost.products:
        if any(not names.isdisjoint(shared.groups) for axis in product.axes for shared in axis):
            macs += product.macs
    return macs / cost.macs if cost.macs else 0.0


class CostModel:
    """Predicts MACs and parameters from how many channels each group keeps, without touching the model."""

    def __init__(self, cost: ModelCost, groups: Sequence[ChannelGroup]) -> None:
        self.cost = cost
        sizes = {group.name: group.n_channels for group in groups}
        # (tensor, axis) -> how many positions each set of groups owns together (a position of a fused projection
        # belongs to a head and to a dimension, and stays only if both stay)
        self._owned: dict[tuple[str, int], Counter[frozenset[str]]] = {}
        self._n_channels = sizes
        axes: dict[tuple[str, int], list[tuple[str, tuple[int, ...]]]] = {}
        for group in groups:
            for member in group.members:
                for axis in member.axes:
                    axes.setdefault((axis.tensor, axis.axis), []).append((group.name, axis.position))
        for key, owners in axes.items():
            self._owned[key] = owners_of(owners)

    def predict(self, n_keep: Mapping[str, int]) -> tuple[float, float]:
        """(MACs, parameters) when group `name` keeps `n_keep[name]` channels; groups not named stay whole."""
        macs, params = float(self.cost.fixed_macs), 0.0
        kept = {name: n_keep.get(name, size) / size for name, size in self._n_channels.items()}
        for weight in self.cost.weights:
            numel = 1.0
            for axis, size in enumerate(weight.shape):
                left = float(size)
                for names, n in self._owned.get((weight.tensor, axis), {}).items():
                    left -= n * (1 - math.prod(kept[name] for name in names))
                numel *= left
            macs += weight.macs_per_element * numel
            params += numel
        for product in self.cost.products:
            macs += product.macs * math.prod(_left(shared, kept) for shared in product.axes)
        return macs, params


def _left(axis: Sequence[SharedPositions], kept: Mapping[str, float]) -> float:
    return 1 - sum(each.share * (1 - math.prod(kept.get(name, 1.0) for name in each.groups)) for each in axis)


def owners_of(owners: Sequence[tuple[str, tuple[int, ...]]]) -> Counter[frozenset[str]]:
    """How many positions of one axis belong to each set of groups."""
    if len(owners) == 1:
        return Counter({frozenset({owners[0][0]}): len(owners[0][1])})
    n = 1 + max(max(positions) for _, positions in owners)
    label = np.zeros(n, np.int64)  # per position, the number of its set
    sets: list[frozenset[str]] = [frozenset()]
    for name, positions in owners:
        member = np.zeros(n, np.int64)
        member[list(positions)] = 1
        pairs, label = np.unique(2 * label + member, return_inverse=True)
        sets = [sets[pair // 2] | ({name} if pair % 2 else frozenset()) for pair in pairs.tolist()]
    found: Counter[frozenset[str]] = Counter()
    for names, count in zip(sets, np.bincount(label).tolist(), strict=True):
        if names:
            found[names] += count
    return found


def _numel(shape: Sequence[int]) -> int:
    return math.prod(shape)
