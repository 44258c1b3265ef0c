"""Which parameter a tensor comes from, while a model runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary


class Origins:
    """Names tensors that are parameters or buffers, or are computed from them alone (a view, a normalised weight)."""

    def __init__(self, model: nn.Module) -> None:
        named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
        self._own: dict[int, str] = {}
        for name, tensor in named:
            self._own.setdefault(id(tensor), name)
        self._derived: Any = WeakIdKeyDictionary()

    def of(self, tensor: Tensor) -> str:
        """The parameter's first name; empty for what inputs have a part in."""
        return self._own.get(id(tensor)) or str(self._derived.get(tensor) or "")

    def follow(self, arguments: Sequence[Tensor], results: Sequence[Tensor]) -> None:
        """Notes what an operator returned: results of parameters alone come from the largest of them."""
        if not arguments or not results or not all(self.of(tensor) for tensor in arguments):
            return
        name = self.of(max(arguments, key=lambda tensor: tensor.numel()))
        for result in results:
            self._derived[result] = name
