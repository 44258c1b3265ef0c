"""Networks drawn at random from the constructions that the graph claims to follow.

A network is a list of blocks with all their sizes, so that it can be printed, built again, and cut down by hand to what
breaks. `benchmarks/generated_networks.py` draws thousands of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.networks import seeded
from tests.surgery import generated_images as images
from tests.surgery import generated_tokens as tokens

WIDTHS = (6, 8, 12, 16)
SIDE = 4
OUTPUTS = (*("scores",) * 4, "features", "two heads")
MAX_WIDTH, MAX_SIDE, MAX_BLOCKS = 32, 8, 5


class Stem(nn.Conv2d):
    """Makes the first channels."""

    def __init__(self, out: int) -> None:
        super().__init__(3, out, 3, padding=1)


class ToTokens(nn.Module):
    """Pixels become tokens."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)


class ToImage(nn.Module):
    """Tokens become pixels; the width is an attribute, or read off."""

    def __init__(self, n: int, side: int, kept: bool) -> None:
        super().__init__()
        self.width, self.side, self.kept = n, side, kept

    def forward(self, x: Tensor) -> Tensor:
        width = self.width if self.kept else x.shape[-1]
        return x.transpose(1, 2).reshape(x.shape[0], width, self.side, self.side)


class Ending(nn.Module):
    """Classifier, and whatever else a model returns: features, a second head, a dictionary."""

    def __init__(self, n: int, positions: int, how: str, outputs: str) -> None:
        super().__init__()
        self.how, self.outputs = how, outputs
        self.hidden = nn.Linear(n * positions if how == "flatten" else n, 6)
        self.head = nn.Linear(6, 4)
        self.second = nn.Linear(n, 3) if outputs == "two heads" else None

    def forward(self, x: Tensor) -> Any:
        image = x.dim() == 4
        pooled = x.mean((2, 3)) if image else x.mean(1)
        if self.how == "flatten":
            y = torch.flatten(x, 1)
        elif self.how == "largest":
            y = functional.adaptive_max_pool2d(x, 1).flatten(1) if image else x.amax(1)
        else:
            y = pooled
        y = torch.tanh(self.hidden(y))
        if self.outputs == "features":
            return {"features": pooled, "scores": self.head(y)}
        if self.second is not None:
            return self.head(y), {"boxes": [self.second(pooled)]}
        return self.head(y)


@dataclass(frozen=True)
class Block:
    """One block: its class, and what the constructor is told."""

    kind: type[nn.Module]
    options: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.kind.__name__}({', '.join(f'{key}={value!r}' for key, value in self.options.items())})"

    def build(self) -> nn.Module:
        """The module."""
        return self.kind(**self.options)


class Drawn(nn.Sequential):
    """Blocks one after the other."""

    def __init__(self, blocks: list[Block]) -> None:
        super().__init__(*(block.build() for block in blocks))

    @property
    def sees_zeros(self) -> bool:
        """Whether a channel of zeros is not the same as none: norms over channels, softmax, means."""
        kinds = [type(module) for module in self.modules() if module is not self]
        return any(issubclass(kind, (nn.GroupNorm, nn.LayerNorm)) or hasattr(kind, "sees_zeros") for kind in kinds)


def _width(r: Random) -> int:
    return r.choice(WIDTHS)


def _grouped(r: Random, n: int) -> dict[str, int]:
    """Input and output widths, and a number of groups that divides both."""
    out = _width(r)
    return {"n": n, "out": out, "groups": r.choice([g for g in (1, 1, 2, 3, 4) if n % g == 0 and out % g == 0])}


def _heads(r: Random, n: int) -> dict[str, int]:
    return {"n": n, "heads": r.choice((2, 3, 5)), "dim": r.choice((4, 7))}


# What may come next, and the options that it is built with: (random, width, side) -> options, None where it cannot.
Options = Callable[[Random, int, int], dict[str, Any] | None]
IMAGE_BLOCKS: dict[type[nn.Module], Options] = {
    images.Conv: lambda r, n, side: {
        **_grouped(r, n),
        "kernel": r.choice((1, 3)),
        "norm": r.choice(list(images.NORMS)),
        "act": r.choice(list(images.ACTIVATIONS)),
    },
    images.Transposed: lambda r, n, side: {**_grouped(r, n), "stride": r.choice((1, 2) if side < MAX_SIDE else (1,))},
    images.Depthwise: lambda r, n, side: {"n": n, "multiplier": r.choice((1, 1, 2))},
    images.Blur: lambda r, n, side: {"n": n},
    images.Residual: lambda r, n, side: {"n": n, "inner": _width(r), "norm": r.choice(list(images.NORMS))},
    images.PaddedShortcut: lambda r, n, side: {"n": n, "out": n + r.choice((2, 4, 6))},
    images.Branches: lambda r, n, side: {"n": n, "left": _width(r), "right": _width(r)},
    images.Dense: lambda r, n, side: {"n": n, "growth": _width(r)},
    images.SplitInPlaces: lambda r, n, side: {
        "n": n, "c": _width(r), "out": _width(r), "by": r.choice(("chunk", "split", "slice"))
    },
    images.UnevenSplit: lambda r, n, side: {"n": n, "worked": r.choice(range(2, n - 1))},
    images.Shuffle: lambda r, n, side: {"n": n},
    images.Gate: lambda r, n, side: {"n": n, "inner": _width(r), "linear": r.random() < 0.5},
    images.SpatialGate: lambda r, n, side: {},
    images.GatedHalves: lambda r, n, side: {"n": n, "out": _width(r), "glu": r.random() < 0.5},
    images.PixelShuffle: lambda r, n, side: (
        {"n": n, "out": _width(r), "by_view": r.random() < 0.5} if side < MAX_SIDE else None
    ),
    images.PixelUnshuffle: lambda r, n, side: (
        {"n": n, "out": _width(r), "by_slices": r.random() < 0.5} if side > 2 else None
    ),
    images.Windows: lambda r, n, side: {"n": n, "inner": _width(r)},
    images.Twice: lambda r, n, side: {"n": n, "tied": r.random() < 0.5},
    images.Normed: lambda r, n, side: {"n": n, "out": _width(r)},
    images.Volume: lambda r, n, side: {"n": n, "out": _width(r)},
    images.Written: lambda r, n, side: {"n": n, "left": _width(r), "right": _width(r)},
    images.Resize: lambda r, n, side: {"how": r.choice(("max", "mean", "bilinear"))} if side > 2 else None,
    ToTokens: lambda r, n, side: {},
}  # fmt: skip
TOKEN_BLOCKS: dict[type[nn.Module], Options] = {
    tokens.Mlp: lambda r, n, side: {"n": n, "inner": _width(r), "norm": r.choice(list(tokens.TOKEN_NORMS))},
    tokens.GatedMlp: lambda r, n, side: {"n": n, "inner": _width(r), "fused": r.random() < 0.5},
    tokens.MixTokens: lambda r, n, side: {"length": side * side, "inner": _width(r)},
    tokens.Convolved: lambda r, n, side: _grouped(r, n),
    tokens.Positions: lambda r, n, side: {"n": n, "length": side * side, "table": r.random() < 0.5},
    tokens.ClassToken: lambda r, n, side: {"n": n},
    tokens.Fused: lambda r, n, side: {**_heads(r, n), "how": r.choice(("view", "interleaved", "chunk"))},
    tokens.Attention: lambda r, n, side: {**_heads(r, n), "length": side * side, "biased": r.random() < 0.5},
    tokens.GroupedQueries: lambda r, n, side: {
        "n": n, "kv_heads": 2, "shared": r.choice((3, 5)), "dim": r.choice((4, 14)),
        "length": side * side, "rotary": r.random() < 0.5,
    },
    tokens.CosineAttention: lambda r, n, side: _heads(r, n),
    tokens.ChannelAttention: lambda r, n, side: _heads(r, n),
    tokens.Divided: lambda r, n, side: {"n": n, "heads": 2},
    tokens.TiedLayers: lambda r, n, side: {"n": n, "out": _width(r)},
    ToImage: lambda r, n, side: {"n": n, "side": side, "kept": r.random() < 0.5},
}  # fmt: skip


def generate(r: Random) -> list[Block]:
    """The blocks of a network that runs on images (B, 3, SIDE, SIDE)."""
    blocks = [Block(Stem, {"out": _width(r)})]
    x = _after(blocks[0], torch.empty(2, 3, SIDE, SIDE, device="meta"))
    for _ in range(r.randint(1, MAX_BLOCKS)):
        is_image = x.dim() == 4
        n, side = (x.shape[1], x.shape[2]) if is_image else (x.shape[2], round(x.shape[1] ** 0.5))
        if n > MAX_WIDTH:
            kinds = [images.Conv] if is_image else [tokens.Convolved]
        elif is_image:
            kinds = [*IMAGE_BLOCKS, *[ToTokens] * 6]
        else:
            kinds = [*TOKEN_BLOCKS]
        kind = r.choice(kinds)
        options = (IMAGE_BLOCKS if is_image else TOKEN_BLOCKS)[kind](r, n, side)
        if options is not None:
            blocks.append(Block(kind, options))
            x = _after(blocks[-1], x)
    is_image = x.dim() == 4
    n, positions = (x.shape[1], x[0, 0].numel()) if is_image else (x.shape[2], x.shape[1])
    ending = {"how": r.choice(("mean", "mean", "flatten", "largest")), "outputs": r.choice(OUTPUTS)}
    return [*blocks, Block(Ending, {"n": n, "positions": positions, **ending})]


def _after(block: Block, x: Tensor) -> Tensor:
    """The shape that a block returns."""
    with torch.device("meta"), torch.no_grad():
        return block.build()(x)


def network(r: Random) -> tuple[Drawn, Tensor, str]:
    """A network, an input, and the network as text."""
    blocks = generate(r)
    seed = r.randint(0, 99)
    return build(blocks, seed), example(seed), "\n".join([*map(str, blocks), f"seed {seed}"])


def build(blocks: list[Block], seed: int = 0) -> Drawn:
    """The network with random weights."""
    model = seeded(lambda: Drawn(blocks), seed)
    assert isinstance(model, Drawn)
    return model


def example(seed: int = 0) -> Tensor:
    """An input."""
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
