"""Tiny networks, each with one construction that a graph must get right. All have random weights from a fixed seed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


class Residual(nn.Module):
    """A stream that two blocks add to, so that stem, conv2 and conv4 lose the same channels."""

    def __init__(self, stream: int = 8, inner: int = 6) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, stream, 3, padding=1), nn.BatchNorm2d(stream)
        self.conv1, self.bn1 = nn.Conv2d(stream, inner, 3, padding=1), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = nn.Conv2d(inner, stream, 3, padding=1), nn.BatchNorm2d(stream)
        self.conv3, self.conv4 = nn.Conv2d(stream, inner, 1), nn.Conv2d(inner, stream, 1)
        self.head = nn.Linear(stream, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn(self.stem(x)))
        x = torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))
        x = x + self.conv4(torch.relu(self.conv3(x)))
        return self.head(x.mean((2, 3)))


class Chain(nn.Module):
    """stem -> the layers given -> read -> pooled -> head; all between them pass `n` channels on."""

    def __init__(self, *layers: nn.Module, n: int = 8, out: int | None = None) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, n, 3, padding=1)
        self.middle = nn.Sequential(*layers)
        self.read = nn.Conv2d(out or n, 6, 3, padding=1)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.middle(self.stem(x)))
        return self.head(torch.relu(self.read(x)).mean((2, 3)))


class Concat(nn.Module):
    """Three branches are concatenated, and one of them twice in another place."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 6, 1), nn.Conv2d(3, 5, 3, padding=1)
        self.bn = nn.BatchNorm2d(15)
        self.read = nn.Conv2d(15, 7, 3, padding=1)
        self.twice = nn.Conv2d(12, 4, 1)
        self.head = nn.Linear(11, 5)

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = self.a(x), self.b(x), self.c(x)
        joined = torch.relu(self.read(self.bn(torch.cat([a, b, c], 1))))
        doubled = torch.relu(self.twice(torch.cat([b, b], 1)))
        return self.head(torch.cat([joined, doubled], 1).mean((2, 3)))


class Flattened(nn.Module):
    """Convolution -> flatten -> linear: one channel is 16 positions of the linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(6 * 16, 10), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.adaptive_avg_pool2d(torch.relu(self.conv(x)), 4).flatten(1)
        return self.fc2(torch.relu(self.fc1(x)))


class Tokens(nn.Module):
    """Embedding and LayerNorm with a residual; integer inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.norm = nn.Embedding(11, 8), nn.LayerNorm(8)
        self.fc1, self.fc2, self.head = nn.Linear(8, 12), nn.Linear(12, 8), nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        x = x + self.fc2(torch.relu(self.fc1(self.norm(x))))
        return self.head(x.mean(1))


class LayerNorm2d(nn.LayerNorm):
    """Normalises axis 1 of images, as ConvNeXt does."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = functional.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class Scaled(nn.Module):
    """A layer scale (bare parameter) in a residual branch."""

    def __init__(self, inner: int = 8) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, inner, 3, padding=1), LayerNorm2d(inner)
        self.conv, self.gamma = nn.Conv2d(inner, inner, 1), nn.Parameter(torch.rand(inner, 1, 1) + 0.5)
        self.head = nn.Linear(inner, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.gamma * self.conv(self.norm(x))
        return self.head(x.mean((2, 3)))


class Shared(nn.Module):
    """One convolution is called twice; it reads and makes the same channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.read, self.head = nn.Conv2d(8, 6, 1), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.conv(torch.relu(self.conv(x))))
        return self.head(torch.relu(self.read(x)).mean((2, 3)))


class Tied(nn.Module):
    """Two layers share one weight; only one of them could be told that it shrank."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.fc3.weight = self.fc2.weight
        self.fc4, self.head = nn.Linear(8, 9), nn.Linear(9, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.fc1(x))
        x = torch.relu(self.fc3(torch.relu(self.fc2(x))))
        return self.head(torch.relu(self.fc4(x)))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lstm = nn.Linear(6, 8), nn.LSTM(8, 7, batch_first=True)
        self.fc2, self.head = nn.Linear(7, 10), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x, _ = self.lstm(torch.relu(self.fc(x)))
        return self.head(torch.relu(self.fc2(x[:, -1])))


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.attention = nn.Linear(6, 8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.fc1, self.fc2, self.head = nn.Linear(8, 12), nn.Linear(12, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc(x)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = x + self.fc2(torch.relu(self.fc1(x)))
        return self.head(x.mean(1))


class TwoHeads(nn.Module):
    """A dictionary of outputs, one of them an inner feature; called by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.conv2 = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3), nn.Conv2d(6, 7, 3)
        self.head = nn.Linear(7, 4)

    def forward(self, pixels: Tensor, scale: Tensor) -> dict[str, Tensor]:
        x = torch.relu(self.stem(pixels * scale))
        features = torch.relu(self.conv(x))
        x = torch.relu(self.conv2(features))
        return {"scores": self.head(x.mean((2, 3))), "features": features}


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """The network with weights, norms and running statistics drawn from `seed`; evaluation mode."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = make()
        for module in model.modules():
            if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)):
                if module.weight is not None:
                    nn.init.uniform_(module.weight, 0.5, 1.5)
                    nn.init.normal_(module.bias, std=0.3)
                if getattr(module, "running_mean", None) is not None:
                    module.running_mean.normal_(std=0.2)
                    module.running_var.uniform_(0.5, 1.5)
        return model.eval()


def images(n: int = 2, side: int = 8, channels: int = 3) -> Tensor:
    return torch.randn(n, channels, side, side, generator=torch.Generator().manual_seed(7))


class Fused(nn.Module):
    """Attention whose queries, keys and values come from one layer; heads and their size are attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.n_heads, self.head_dim = 3, 4
        self.qkv, self.proj, self.head = nn.Linear(12, 36), nn.Linear(12, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        n, length, _ = x.shape
        q, k, v = self.qkv(x).view(n, length, 3, self.n_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) * 0.5).softmax(-1)  # (n, n_heads, length, length)
        mixed = (weights @ v).transpose(1, 2).flatten(2)
        return self.head(torch.relu(self.proj(mixed)).mean(1))
