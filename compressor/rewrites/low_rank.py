"""A layer that was split, as a plan remembers it: the decomposition's name and the ranks."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from compressor.core.errors import CompressionError, WeightsMismatch
from compressor.core.plan import Rewrite
from compressor.decompositions.kinds import decomposition_of
from compressor.decompositions.protocol import Ranks

KIND = "low_rank"


def rewrite_of(layer: str, decomposition: str, ranks: Ranks) -> Rewrite:
    """What a plan keeps of a layer that was split."""
    return Rewrite(layer, KIND, {"decomposition": decomposition, "ranks": "x".join(map(str, ranks))})


def split(layer: nn.Module, options: Mapping[str, float | int | str]) -> nn.Module:
    """The layers of low rank that replace this one.

    Raises:
        WeightsMismatch: it is another kind of layer.
        KeyError, ValueError: the options are damaged.
    """
    ranks = tuple(int(rank) for rank in str(options["ranks"]).split("x"))
    try:
        decomposition = decomposition_of(str(options["decomposition"]))
    except CompressionError as error:
        raise WeightsMismatch(str(error)) from error
    reason = decomposition.refusal(layer)
    if reason:
        raise WeightsMismatch(reason.rstrip("."))
    return decomposition.factor(layer).replacement(ranks).module
