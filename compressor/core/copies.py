"""Copies of a model, with or without tensors of their own."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils._pytree import tree_leaves


def share_tensors(model: nn.Module) -> nn.Module:
    """A copy of the modules that shares their tensors, so that cutting it costs only the smaller ones."""
    memo: dict[int, object] = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    return copy.deepcopy(model, memo | _without_history(model))


def own_tensors(model: nn.Module) -> nn.Module:
    """A copy that shares nothing with `model`."""
    return copy.deepcopy(model, _without_history(model))


def _without_history(model: nn.Module) -> dict[int, object]:
    """For `deepcopy`, which refuses tensors that autograd made: those that a forward pass left on a module."""
    kept = [leaf for module in model.modules() for leaf in tree_leaves(vars(module))]
    return {id(t): t.detach() for t in kept if isinstance(t, torch.Tensor) and t.grad_fn is not None}
