"""Replaces blocks as a plan says."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from compressor.core.errors import WeightsMismatch
from compressor.core.plan import Rewrite
from compressor.rewrites.attention import Attention

_KINDS = {"attention": Attention}


def apply(model: nn.Module, rewrites: Sequence[Rewrite]) -> None:
    """Replaces the blocks in `model`.

    Raises:
        WeightsMismatch: the model has no such block; it is then untouched.
    """
    made: dict[nn.Module, nn.Module] = {}
    for rewrite in rewrites:
        try:
            if not rewrite.layer:
                raise WeightsMismatch("the model itself is no block")
            block = model.get_submodule(rewrite.layer)
            made[block] = _KINDS[rewrite.kind](block, rewrite.options)
        except (AttributeError, KeyError, ValueError, ZeroDivisionError, WeightsMismatch) as error:
            raise WeightsMismatch(
                f"The plan replaces {rewrite.layer or 'the model'}, which does not fit this model ({error}). "
                "Pass a fresh instance of the class that was compressed."
            ) from error
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child in made:  # at each of its places
                parent._modules[name] = made[child]
