"""Layer by layer: which rank, and whether the layers of low rank are better than the one that they would replace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from compressor.calibration.calls import watched
from compressor.core.errors import UnsupportedModel
from compressor.decompositions.kinds import decomposition_of
from compressor.decompositions.macs import product_macs, skeleton_macs
from compressor.decompositions.protocol import Decomposition, Ranks
from compressor.decompositions.ranks import break_even, rank_path
from compressor.decompositions.replace import OWNER, check_layer, layer_named, refusal_in, with_modules
from compressor.decompositions.rule import RankRule
from compressor.graph.cost import evaluating
from compressor.graph.naming import layers_matching
from exporters.signature import ExampleInputs

IsFaster = Callable[[nn.Module, nn.Module, tuple[int, ...]], bool]  # (layer, replacement, shape of an input)


@dataclass(frozen=True)
class LayerRecord:
    """What was decided on one layer."""

    layer: str  # dotted name
    kind: str
    ranks: Ranks  # that were chosen; () where it did not come to that
    macs_before: int  # multiply-accumulates per one input of the model
    macs_after: int  # with the layers of these ranks, whether they were kept or not
    relative_error: float  # |W - W'| / |W| of the weight, at these ranks
    kept: bool  # the layer was replaced
    reason: str  # why not; empty where it was

    def __str__(self) -> str:
        found = f"{self.layer}: {self.kind}"
        if self.ranks:
            rank = " and ".join(map(str, self.ranks))
            found += f", rank {rank}, {self.macs_before:,} -> {self.macs_after:,} MACs, error {self.relative_error:.1%}"
        return f"{found}, {'replaced' if self.kept else f'left as it is: {self.reason}'}"


def decompose(
    model: nn.Module,
    inputs: ExampleInputs | Tensor | Sequence[Tensor] | Mapping[str, Tensor],
    *,
    kind: str,
    energy: float | None = None,
    threshold: float | None = None,
    ratio: float | None = None,
    layers: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
    is_faster: IsFaster | None = None,
) -> tuple[nn.Module, tuple[LayerRecord, ...]]:
    """A copy of `model` whose layers are split where that pays, and a record of each layer that was looked at.

    A layer is replaced where that saves multiply-accumulates on inputs like these and where `is_faster` agrees: two
    thin layers can be slower than one, whatever they save. Data and training are not needed.

    Args:
        model: stays as it is.
        inputs: what it is called with; they say which layers run, and on what shapes.
        kind: "channel", "spatial", "depthwise", "tucker2" or "linear".
        energy: share of the squared singular values that stays, above 0 up to 1. At 1 only singular values go that
            rounding may have made: the result computes the same, and layers that training left at a low rank get it.
        threshold: singular values below it go; above 0.
        ratio: share of each layer's multiply-accumulates that may remain, above 0 and below 1; the highest rank within
            it is taken.
        layers: dotted names; None: all that the kind can split.
        ignore: patterns of layers that stay as they are ("layer1.*").
        is_faster: whether the second module is faster than the first on inputs of this shape. It is asked once for each
            shape that the layer is called with, and must agree each time; None: the multiply-accumulates decide.

    Raises:
        InvalidOption: not exactly one of energy, threshold and ratio; one is out of range; no such layer, or a
            pattern that matches none.
        UnknownPlugin: no such kind.
        UnsupportedModel: a layer that was named cannot be split, or the model reads a weight that was split.

    Example:
        One linear layer whose matrix has rank 1: 64 MACs become 16.

        >>> model = nn.Sequential(nn.Linear(8, 8, bias=False))
        >>> _ = model[0].weight.data.fill_(1.0)
        >>> smaller, records = decompose(model, torch.ones(1, 8), kind="linear", energy=1.0)
        >>> print(records[0])
        0: linear, rank 1, 64 -> 16 MACs, error 0.0%, replaced
    """
    decomposition = decomposition_of(kind)
    rule = RankRule(energy, threshold, ratio)
    example = ExampleInputs.of(inputs, model)
    ignored = layers_matching(dict(model.named_modules()), ignore)
    candidates = _candidates(model, decomposition, layers)
    chosen = {name: layer for name, layer in candidates.items() if name not in ignored}
    calls = _calls(model, chosen, example)
    made: dict[nn.Module, nn.Module] = {}
    records = []
    for name, layer in chosen.items():
        record, replacement = _decide(model, name, decomposition, calls[name], example.batch_size, rule, is_faster)
        records.append(record)
        if replacement is not None:
            made[layer] = replacement
    smaller = with_modules(model, made)
    _try(smaller, example)
    return smaller, tuple(records)


@dataclass
class _Calls:
    """How a layer is called in one pass."""

    shapes: list[tuple[int, ...]] = field(default_factory=list)  # of what it is given
    macs: int = 0  # of all calls


def _candidates(model: nn.Module, decomposition: Decomposition, names: Sequence[str] | None) -> dict[str, nn.Module]:
    """Layers to look at, by name, each once."""
    if names is None:
        return {name: layer for name, layer in model.named_modules() if isinstance(layer, decomposition.layers)}
    found: dict[nn.Module, str] = {}
    for name in names:
        layer = layer_named(model, name)
        check_layer(model, name, layer, decomposition)
        found.setdefault(layer, name)
    return {name: layer for layer, name in found.items()}


def _calls(model: nn.Module, names: Mapping[str, nn.Module], example: ExampleInputs) -> dict[str, _Calls]:
    calls = {name: _Calls() for name in names}

    def called(name: str, layer: nn.Module, given: Tensor, output: Tensor) -> None:
        if isinstance(given, Tensor) and isinstance(output, Tensor):  # a class of its own may return anything
            calls[name].shapes.append(tuple(given.shape))
            calls[name].macs += product_macs(layer, output)

    with evaluating(model), torch.random.fork_rng(devices=[]), watched(model, names, called):
        example.call(model)
    return calls


def _decide(
    model: nn.Module,
    name: str,
    decomposition: Decomposition,
    calls: _Calls,
    batch_size: int,
    rule: RankRule,
    is_faster: IsFaster | None,
) -> tuple[LayerRecord, nn.Module | None]:
    layer = model.get_submodule(name)

    def macs_of(ranks: Ranks) -> int:
        return skeleton_macs(decomposition.skeleton(layer, ranks), calls.shapes)

    def record(reason: str, ranks: Ranks = (), error: float = 0.0) -> LayerRecord:
        after = macs_of(ranks) if ranks else calls.macs
        before, after = calls.macs // batch_size, after // batch_size
        return LayerRecord(name, decomposition.name, ranks, before, after, error, not reason, reason)

    reason = refusal_in(model, layer, decomposition)
    if not reason and not calls.shapes:
        reason = "The model does not call it on these inputs."
    if reason:
        return record(reason), None
    factors = decomposition.factor(layer)
    path = [factors.bounded(ranks) for ranks in rank_path(factors.spectra)]
    ranks = rule.ranks(factors, path, macs_of, calls.macs)
    if ranks is None:
        return record(f"No rank keeps to {rule.ratio:.0%} of its MACs."), None
    found = factors.replacement(ranks)
    if macs_of(ranks) >= calls.macs:
        limit = break_even(path, macs_of, calls.macs)
        until = f"ranks up to {' and '.join(map(str, limit))} would" if limit else "no rank would"
        return record(f"This saves no MACs; {until}.", ranks, found.relative_error), None
    if is_faster is not None and not all(is_faster(layer, found.module, s) for s in dict.fromkeys(calls.shapes)):
        return record("It is not faster.", ranks, found.relative_error), None
    return record("", ranks, found.relative_error), found.module


def _try(model: nn.Module, example: ExampleInputs) -> None:
    try:
        with evaluating(model), torch.random.fork_rng(devices=[]):
            example.call(model)
    except AttributeError as error:
        raise UnsupportedModel(
            f"{OWNER}: the model's own code must only call the layers that are split, but it reads more of one "
            f"({error}). Name the layers to split in `layers`, without that one."
        ) from error
