"""The cut itself, and its replay: indices in, smaller tensors out. Nothing is traced and no library is needed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

import torch
from torch import nn

from compressor.core.copies import share_tensors
from compressor.core.errors import WeightsMismatch
from compressor.core.plan import AttributeChange, TensorCut


def cut(model: nn.Module, cuts: Sequence[TensorCut], attributes: Sequence[AttributeChange]) -> None:
    """Cuts `model` in place: every named axis keeps the listed positions, every named size is set.

    Raises:
        WeightsMismatch: the model is not the one the plan was made for; it is left untouched.
    """
    _check(model, cuts, attributes)
    keep_alive: list[torch.Tensor] = []  # so that no identity is given out twice
    made: dict[tuple[int, tuple[tuple[int, tuple[int, ...]], ...]], torch.Tensor] = {}  # a shared tensor stays shared
    for name, group in groupby(sorted(cuts, key=lambda c: (c.tensor, c.axis)), key=lambda c: c.tensor):
        path, _, leaf = name.rpartition(".")
        owner = model.get_submodule(path)
        tensor = getattr(owner, leaf)
        axes = list(group)
        key = id(tensor), tuple((axis.axis, axis.keep) for axis in axes)
        if key not in made:
            made[key] = _smaller_tensor(tensor, axes)
            keep_alive.append(tensor)
        held: dict[str, Any] = owner._parameters if leaf in owner._parameters else owner._buffers
        held[leaf] = made[key]
    for change in attributes:
        module = model.get_submodule(change.layer)
        was_list = isinstance(getattr(module, change.attribute), list)
        setattr(module, change.attribute, list(change.after) if was_list else change.after)  # type: ignore[arg-type]


def _smaller_tensor(tensor: torch.Tensor, axes: Sequence[TensorCut]) -> torch.Tensor:
    smaller = tensor.detach()
    for axis in axes:
        smaller = smaller.index_select(axis.axis, torch.tensor(axis.keep, device=smaller.device))
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(smaller.contiguous(), requires_grad=tensor.requires_grad)
    return smaller.contiguous()


def cut_copy(model: nn.Module, cuts: Sequence[TensorCut], attributes: Sequence[AttributeChange]) -> nn.Module:
    """A cut copy with tensors of its own; `model` stays whole, and no second whole copy is ever made."""
    smaller = share_tensors(model)
    cut(smaller, cuts, attributes)
    shared = {id(tensor) for tensor in [*model.parameters(), *model.buffers()]}
    own: dict[int, torch.Tensor] = {}
    for module in smaller.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None and id(tensor) in shared:
                    tensors[name] = own.setdefault(id(tensor), _clone(tensor))  # type: ignore[assignment]
    return smaller


def _clone(tensor: torch.Tensor) -> torch.Tensor:
    fresh = tensor.detach().clone()
    return nn.Parameter(fresh, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else fresh


def _check(model: nn.Module, cuts: Sequence[TensorCut], attributes: Sequence[AttributeChange]) -> None:
    tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    modules = dict(model.named_modules(remove_duplicate=False))
    if len({(piece.tensor, piece.axis) for piece in cuts}) < len(cuts):
        raise WeightsMismatch("The plan cuts an axis twice. The file is damaged; make the run again.")
    for piece in cuts:
        tensor = tensors.get(piece.tensor)
        if tensor is None:
            raise WeightsMismatch(
                f"The plan cuts {piece.tensor}, which this model does not have. Pass the class it was made for."
            )
        if not 0 <= piece.axis < tensor.dim() or tensor.shape[piece.axis] != piece.size:
            raise WeightsMismatch(
                f"The plan expects {piece.size} positions on axis {piece.axis} of {piece.tensor}, "
                f"but this model has shape {tuple(tensor.shape)}. "
                "Pass a fresh, uncut instance of the class it was made for."
            )
        ascending = all(a < b for a, b in pairwise(piece.keep))
        if not piece.keep or not ascending or piece.keep[0] < 0 or piece.keep[-1] >= piece.size:
            raise WeightsMismatch(
                f"The plan keeps positions of {piece.tensor} that are not ascending numbers below {piece.size}. "
                "The file is damaged; make the run again."
            )
    for change in attributes:
        name = f"{change.layer}.{change.attribute}"
        plain = change.attribute.isidentifier() and not change.attribute.startswith("_")
        if not plain or not _smaller(change.after, change.before):
            raise WeightsMismatch(
                f"The plan changes {name} from {change.before} to {change.after}, which is no smaller size. "
                "The file is damaged; make the run again."
            )
        found = getattr(modules.get(change.layer), change.attribute, None)
        found = tuple(found) if isinstance(found, list) else found
        if found != change.before or isinstance(found, bool):
            raise WeightsMismatch(f"The plan expects {name} to be {change.before}, but this model has {found}.")


def _smaller(after: int | tuple[int, ...], before: int | tuple[int, ...]) -> bool:
    if isinstance(after, int) and isinstance(before, int):
        return 0 < after <= before
    if isinstance(after, int) or isinstance(before, int) or len(after) != len(before):
        return False
    # An entry that stays may be anything: -1 in a reshape is what is left over.
    return all(a == b or 0 < a <= b for a, b in zip(after, before, strict=True))
