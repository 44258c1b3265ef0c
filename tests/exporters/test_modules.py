from __future__ import annotations

import torch
from torch import nn

from exporters.modules import cpu_copy, evaluating, on_cpu


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.first.bias.requires_grad_(False)
        self.norm = nn.BatchNorm1d(3)

    def train(self, mode: bool = True) -> Tied:
        raise AssertionError("an author's own train() may change weights and must not be called")


def test_a_module_on_the_cpu_is_not_copied() -> None:
    module = Tied()
    assert on_cpu(module) is module


def test_a_copy_keeps_ties_and_flags_and_numbers() -> None:
    module = Tied()
    copied = cpu_copy(module)
    assert copied.first is not module.first
    assert copied.first.weight is copied.second.weight
    assert isinstance(copied.first.weight, nn.Parameter)
    assert not copied.first.bias.requires_grad
    for name, tensor in module.state_dict().items():
        assert torch.equal(copied.state_dict()[name], tensor)


def test_evaluating_sets_flags_only_and_puts_them_back() -> None:
    module = Tied()
    module.norm.training = False
    with evaluating(module):
        assert not any(part.training for part in module.modules())
        assert not torch.is_grad_enabled()
    assert [part.training for part in module.modules()] == [True, True, True, False]
