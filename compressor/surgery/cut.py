"""The cut itself, and its replay: indices in, smaller tensors out. Nothing is traced and no library is needed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import groupby

import torch
from torch import nn

from compressor.core.errors import WeightsMismatch
from compressor.core.plan import AttributeChange, TensorCut


def cut(model: nn.Module, cuts: Sequence[TensorCut], attributes: Sequence[AttributeChange]) -> None:
    """Cuts `model` in place: every named axis keeps the listed positions, every named size is set.

    Raises:
        WeightsMismatch: the model is not the one the plan was made for; it is left untouched.
    """
    _check(model, cuts, attributes)
    for name, axes in groupby(sorted(cuts, key=lambda c: (c.tensor, c.axis)), key=lambda c: c.tensor):
        path, _, leaf = name.rpartition(".")
        owner = model.get_submodule(path)
        tensor = getattr(owner, leaf)
        smaller = tensor.detach()
        for axis in axes:
            smaller = smaller.index_select(axis.axis, torch.tensor(axis.keep, device=smaller.device))
        if leaf in owner._parameters:
            owner._parameters[leaf] = nn.Parameter(smaller.contiguous(), requires_grad=tensor.requires_grad)
        else:
            owner._buffers[leaf] = smaller.contiguous()
    for change in attributes:
        setattr(model.get_submodule(change.layer), change.attribute, change.after)


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


def share_tensors(model: nn.Module) -> nn.Module:
    """A copy of the modules that shares their tensors, so that cutting it costs only the smaller ones."""
    memo: dict[int, object] = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    return copy.deepcopy(model, memo)


def _clone(tensor: torch.Tensor) -> torch.Tensor:
    fresh = tensor.detach().clone()
    return nn.Parameter(fresh, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else fresh


def _check(model: nn.Module, cuts: Sequence[TensorCut], attributes: Sequence[AttributeChange]) -> None:
    tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    for piece in cuts:
        tensor = tensors.get(piece.tensor)
        if tensor is None:
            raise WeightsMismatch(
                f"The plan cuts {piece.tensor}, which this model does not have. Pass the class it was made for."
            )
        if piece.axis >= tensor.dim() or tensor.shape[piece.axis] != piece.size:
            raise WeightsMismatch(
                f"The plan expects {piece.size} positions on axis {piece.axis} of {piece.tensor}, "
                f"but this model has shape {tuple(tensor.shape)}. "
                "Pass a fresh, uncut instance of the class it was made for."
            )
        if not piece.keep or min(piece.keep) < 0 or max(piece.keep) >= piece.size:
            raise WeightsMismatch(
                f"The plan keeps positions outside {piece.tensor}. The file is damaged; make the run again."
            )
    for change in attributes:
        found = getattr(model.get_submodule(change.layer), change.attribute, None)
        if found != change.before:
            raise WeightsMismatch(
                f"The plan expects {change.layer}.{change.attribute} to be {change.before}, but this model has {found}."
            )
