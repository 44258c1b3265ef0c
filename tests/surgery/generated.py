"""Small networks drawn at random from the constructions that the graph claims to follow."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.networks import LayerNorm2d, seeded

WIDTHS = (4, 6, 8)
SIDE = 5


class Residual(nn.Module):
    def __init__(self, n: int, inner: int) -> None:
        super().__init__()
        self.conv1, self.bn = nn.Conv2d(n, inner, 3, padding=1), nn.BatchNorm2d(inner)
        self.conv2, self.gamma = nn.Conv2d(inner, n, 1), nn.Parameter(torch.rand(n, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gamma * self.conv2(torch.relu(self.bn(self.conv1(x))))


class Branches(nn.Module):
    def __init__(self, n: int, left: int, right: int) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(n, left, 1), nn.Conv2d(n, right, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        right = torch.sigmoid(self.right(x))
        return torch.cat([self.left(x), right, right], 1)


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, n: int, inner: int) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(n, inner, 1), nn.Conv2d(inner, n, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))


class Drawn(nn.Module):
    """`specs`: (kind, a width, a second width) per block."""

    def __init__(self, specs: list[tuple[str, int, int]], flatten: bool) -> None:
        super().__init__()
        n = 8
        blocks: list[nn.Module] = [nn.Conv2d(3, n, 3, padding=1)]
        for kind, first, second in specs:
            if kind == "conv":
                blocks += [nn.Conv2d(n, first, 3, padding=1), nn.BatchNorm2d(first), nn.ReLU()]
                n = first
            elif kind == "transposed":
                blocks += [nn.ConvTranspose2d(n, first, 3, padding=1), nn.PReLU(first)]
                n = first
            elif kind == "depthwise":
                blocks += [nn.Conv2d(n, n, 3, padding=1, groups=n), nn.Hardswish()]
            elif kind == "grouped":
                blocks += [nn.Conv2d(n, first, 1, groups=2), nn.GELU()]
                n = first
            elif kind == "group_norm":
                blocks += [nn.GroupNorm(n // 2 if second == 4 else 2, n)]
            elif kind == "layer_norm":
                blocks += [LayerNorm2d(n)]
            elif kind == "residual":
                blocks += [Residual(n, first)]
            elif kind == "gate":
                blocks += [Gate(n, second)]
            else:
                blocks += [Branches(n, first, second)]
                n = first + 2 * second
        self.blocks = nn.Sequential(*blocks)
        self.flatten = flatten
        self.hidden = nn.Linear(n * SIDE * SIDE if flatten else n, 6)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(x)
        x = x.flatten(1) if self.flatten else x.mean((2, 3))
        return self.head(torch.tanh(self.hidden(x)))


KINDS = ["conv", "transposed", "depthwise", "grouped", "group_norm", "layer_norm", "residual", "gate", "branches"]


@st.composite
def drawn(draw: st.DrawFn) -> nn.Module:
    """A network with up to five blocks, weights from a drawn seed."""
    block = st.tuples(st.sampled_from(KINDS), st.sampled_from(WIDTHS), st.sampled_from(WIDTHS))
    specs = draw(st.lists(block, min_size=1, max_size=5), label="blocks")
    flatten = draw(st.booleans(), label="flatten")
    return seeded(lambda: Drawn(specs, flatten), draw(st.integers(0, 99), label="seed"))
