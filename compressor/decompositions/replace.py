"""A copy of a model with some of its layers replaced."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from torch import nn

from compressor.core.copies import own_tensors
from compressor.core.errors import InvalidOption, UnsupportedModel
from compressor.decompositions.kinds import decomposition_of
from compressor.decompositions.protocol import Decomposition, Ranks

OWNER = "low rank"


def replace_layers(model: nn.Module, kind: str, ranks: Mapping[str, Ranks | int]) -> nn.Module:
    """A copy of `model` in which each named layer is split, at the ranks given.

    A layer that is in several places of the model, under several names, is replaced in all of them by the same module.
    `model` stays as it is, and the copy shares no tensor with it.

    Args:
        kind: "channel", "spatial", "depthwise", "tucker2" or "linear".
        ranks: {dotted name: rank}; of "tucker2" {dotted name: (rank of inputs, rank of outputs)}. Ranks above what the
            shape of the weight allows count as those, which are exact.

    Raises:
        InvalidOption: no such layer, a rank below 1, or a number of ranks that the kind does not have.
        UnknownPlugin: no such kind.
        UnsupportedModel: a layer cannot be split.

    Example:
        >>> model = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        >>> smaller = replace_layers(model, "linear", {"0": 2})
        >>> [tuple(parameter.shape) for parameter in smaller.parameters()]
        [(2, 8), (8, 2), (8,)]
    """
    decomposition = decomposition_of(kind)
    made = {}
    for name, rank in ranks.items():
        layer = layer_named(model, name)
        check_layer(model, name, layer, decomposition)
        factors = decomposition.factor(layer)
        wanted = (rank,) if isinstance(rank, int) else tuple(rank)
        if len(wanted) != len(factors.spectra) or min(wanted, default=0) < 1:
            allowed = f"{len(factors.spectra)} whole number(s) above 0 for {kind}"
            raise InvalidOption(f"{OWNER}: {name}", "ranks", allowed, rank)
        made[layer] = factors.replacement(wanted).module
    return with_modules(model, made)


def with_modules(model: nn.Module, made: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """A copy of `model` with other modules in the places of some of its own."""
    if model in made:
        return made[model]
    copy = own_tensors(model)
    places = [(name, made[layer]) for name, layer in model.named_modules(remove_duplicate=False) if layer in made]
    for name, replacement in places:
        path, _, leaf = name.rpartition(".")
        copy.get_submodule(path)._modules[leaf] = replacement
    return copy


def layer_named(model: nn.Module, name: str) -> nn.Module:
    """The module with this dotted name.

    Raises:
        InvalidOption: there is none; the nearest name is suggested.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    if name not in modules:
        near = difflib.get_close_matches(name, modules, n=1)
        raise InvalidOption(OWNER, "layers", "names in the model", name, f"Did you mean '{near[0]}'?" if near else "")
    return modules[name]


def check_layer(model: nn.Module, name: str, layer: nn.Module, decomposition: Decomposition) -> None:
    """Refuses a layer that cannot be replaced.

    Raises:
        UnsupportedModel: it cannot; the sentence says why.
    """
    reason = refusal_in(model, layer, decomposition)
    if reason:
        raise UnsupportedModel(f"{name or 'the model'}: {reason}")


def refusal_in(model: nn.Module, layer: nn.Module, decomposition: Decomposition) -> str:
    """Why this layer of the model cannot be replaced: a sentence; empty if it can."""
    reason = decomposition.refusal(layer)
    others = [] if reason else _sharers(model, layer)
    if others:
        return (
            f"A weight to split must be one layer's alone, but {others[0]} holds this one too. "
            "Leave the layer out, or give each a copy of the weight."
        )
    return reason


def _sharers(model: nn.Module, layer: nn.Module) -> Sequence[str]:
    """Names of parameters in other modules that are this layer's weight."""
    return [
        f"{name}.{leaf}".lstrip(".")
        for name, module in model.named_modules()
        for leaf, parameter in module._parameters.items()
        if module is not layer and parameter is layer.weight
    ]
