from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn


class TwoInputs(nn.Module):
    """Two named inputs, one of them token ids; a dictionary of two outputs of the same shape."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.mix = nn.Linear(4, 4)

    def forward(self, tokens: Tensor, features: Tensor) -> dict[str, Tensor]:
        hidden = self.mix(self.embed(tokens).mean(1) + features)  # (N, 4)
        return {"zeta": hidden, "alpha": torch.tanh(features)}


class ConvNet(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 5),
        )
        nn.init.normal_(self[1].running_mean, std=0.1)


@pytest.fixture(scope="session")
def conv_net() -> nn.Module:
    torch.manual_seed(0)
    return ConvNet()


@pytest.fixture(scope="session")
def images() -> Tensor:
    return torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="session")
def two_inputs() -> nn.Module:
    torch.manual_seed(1)
    return TwoInputs()


@pytest.fixture(scope="session")
def named_inputs() -> dict[str, Tensor]:
    return {"tokens": torch.tensor([[0, 6, 3]]), "features": torch.randn(1, 4)}
