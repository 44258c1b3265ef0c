"""Rewrites a model as a plan says."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from compressor.core.errors import WeightsMismatch
from compressor.core.plan import Rewrite
from compressor.rewrites import buffers, low_rank
from compressor.rewrites.attention import Attention

# Kinds that replace a block; the kind "buffer" registers a tensor.
_BLOCKS = {"attention": Attention, low_rank.KIND: low_rank.split}


def apply(model: nn.Module, rewrites: Sequence[Rewrite]) -> None:
    """Replaces blocks in `model`, and registers tensors; then splits layers, some of which may be in such blocks.

    Raises:
        WeightsMismatch: the model has no such block, tensor or layer; unless only a layer to be split does not fit, it
            is then untouched.
    """
    _apply(model, [rewrite for rewrite in rewrites if rewrite.kind != low_rank.KIND])
    _apply(model, [rewrite for rewrite in rewrites if rewrite.kind == low_rank.KIND])


def _apply(model: nn.Module, rewrites: Sequence[Rewrite]) -> None:
    made: dict[nn.Module, nn.Module] = {}
    registered: list[tuple[nn.Module, str]] = []
    for rewrite in rewrites:
        try:
            if rewrite.kind == "buffer":
                registered.append((model.get_submodule(rewrite.layer), str(rewrite.options["name"])))
                buffers.check(*registered[-1])
                continue
            if not rewrite.layer:
                raise WeightsMismatch("the model itself is no block")
            block = model.get_submodule(rewrite.layer)
            made[block] = _BLOCKS[rewrite.kind](block, rewrite.options)
        except (AttributeError, KeyError, ValueError, ZeroDivisionError, WeightsMismatch) as error:
            raise WeightsMismatch(
                f"The plan rewrites {rewrite.layer or 'the model'}, which does not fit this model ({error}). "
                "Pass a fresh instance of the class that was compressed."
            ) from error
    for module, name in dict.fromkeys(registered):
        buffers.register(module, name)
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child in made:  # at each of its places
                parent._modules[name] = made[child]
