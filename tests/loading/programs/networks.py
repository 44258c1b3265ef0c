"""Tiny networks, each with layers or operators of one family, to be exported and read back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

IMAGE = (2, 3, 16, 16)


class Images(nn.Module):
    """A convolution, `middle`, pooling and a classifier; `width` is what `middle` gives."""

    def __init__(self, *middle: nn.Module, width: int = 8, n: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, n, 3, padding=1)
        self.middle = nn.Sequential(*middle)
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.middle(torch.relu(self.stem(x))).mean((2, 3)))


class Apply(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Shuffle(nn.Module):
    """Two halves, of which one is convolved; then their channels are shuffled by reshapes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(4, 4, 1), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.stem(x).chunk(2, 1)
        x = torch.cat([left, torch.relu(self.conv(right))], 1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
        return self.head(x.mean((2, 3)))


class Patches(nn.Module):
    """Patches, a class token, positions, and one block of attention with a fused qkv, written out."""

    def __init__(self, dim: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.heads = heads
        self.patch = nn.Conv2d(3, dim, 4, 4)
        self.class_token = nn.Parameter(torch.randn(1, 1, dim))
        self.position = nn.Parameter(torch.randn(1, 17, dim))
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        self.gamma = nn.Parameter(torch.rand(dim) + 0.5)
        self.head = nn.Linear(dim, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], 1) + self.position
        x = x + self.gamma * self.attend(self.norm1(x))
        x = x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))
        return self.head(x[:, 0])

    def attend(self, x: Tensor) -> Tensor:
        n, length, dim = x.shape
        qkv = self.qkv(x).reshape(n, length, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        weights = (query @ key.transpose(-2, -1) * (dim // self.heads) ** -0.5).softmax(-1)
        return self.proj((weights @ value).transpose(1, 2).reshape(n, length, dim))


class Padded(nn.Module):
    """The shortcut of the CIFAR ResNets: every second pixel, and channels of zeros on both sides."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv, self.head = nn.Conv2d(4, 8, 3, 2, 1), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn(self.stem(x)))
        shortcut = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        return self.head(torch.relu(self.conv(x) + shortcut).mean((2, 3)))


class Words(nn.Module):
    """Token ids, an embedding, a mask, and an embedding tied to the output layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.norm, self.mix = nn.LayerNorm(8), nn.Linear(8, 8)
        self.register_buffer("causal", torch.triu(torch.full((16, 16), -100.0), 1))

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.norm(self.embedding(input_ids))
        length = x.shape[1]
        weights = (x @ x.transpose(1, 2) + self.causal[:length, :length]).softmax(-1)
        x = x + self.mix(weights @ x)
        return functional.linear(x, self.embedding.weight)


class TwoInputs(nn.Module):
    """One backbone for two images; two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6, 4)

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        a, b = torch.relu(self.conv(left)).mean((2, 3)), torch.relu(self.conv(right)).mean((2, 3))
        return self.head(a) - self.head(b), a * b


class Named(nn.Module):
    """A dictionary of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.boxes, self.scores = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 1), nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = torch.relu(self.conv(x))
        return {"boxes": self.boxes(x), "scores": self.scores(x).sigmoid()}


class Volume(nn.Module):
    """Convolutions over three axes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.up = nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ConvTranspose3d(4, 2, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(torch.relu(self.bn(self.conv(x)))).mean((2, 3, 4))


class Signal(nn.Module):
    """Convolutions over one axis."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.up = nn.Conv1d(2, 6, 5, 2, 2), nn.BatchNorm1d(6), nn.ConvTranspose1d(6, 3, 4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool1d(self.up(functional.elu(self.bn(self.conv(x)))), 2)


class UNet(nn.Module):
    """Down, up, and joined again."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.bn = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.inner, self.up = nn.Conv2d(6, 8, 3, padding=1), nn.ConvTranspose2d(8, 6, 2, 2)
        self.head = nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = torch.relu(self.bn(self.down(x)))
        b = self.up(torch.relu(self.inner(functional.max_pool2d(a, 2))))
        x = self.head(torch.cat([a, b], 1))
        return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class Encoder(nn.Module):
    """torch's own transformer layer."""

    def __init__(self, heads: int = 3) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(12, heads, 20, batch_first=True)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x).mean(1))


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """Weights and statistics as after training: no norm is the identity, no bias is zero."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            if parameter.ndim == 1:
                centre = 1.0 if name == "weight" else 0.0
                parameter.data = centre + 0.2 * torch.randn(parameter.shape, generator=generator)
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.data = 0.1 * torch.randn(part.running_mean.shape, generator=generator)
            part.running_var.data = torch.rand(part.running_var.shape, generator=generator) + 0.5
    return module.eval()


class Recurrent(nn.Module):
    """A recurrent layer and a classifier of its last step."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0][:, -1])


def _images(*middle: nn.Module, width: int = 8) -> tuple[nn.Module, tuple[Tensor, ...]]:
    return Images(*middle, width=width), (torch.randn(IMAGE),)


def _mapped(function: Callable[[Tensor], Tensor], width: int = 8) -> tuple[nn.Module, tuple[Tensor, ...]]:
    return _images(Apply(function), width=width)


def _conv(n: int = 8) -> nn.Module:
    return nn.Conv2d(8, n, 1)


def _activations() -> list[nn.Module]:
    first = [nn.ReLU6(), nn.LeakyReLU(0.2), nn.ELU(), nn.SELU(), nn.GELU(), nn.SiLU(), nn.Hardswish(), nn.Softplus()]
    return [*first, nn.Mish(), nn.Tanh(), nn.Hardsigmoid(), nn.Softsign(), nn.LogSigmoid(), nn.GELU("tanh")]


def _arithmetic(x: Tensor) -> Tensor:
    y = x.abs().add(1).sqrt().log() + x.sin() * x.cos() + torch.maximum(x, -x)
    return y + x.clamp(-1, 1) ** 2 - (x / 3).floor()


def _reductions(x: Tensor) -> Tensor:
    y = x * x.norm(dim=1, keepdim=True) + x.amax(1, keepdim=True) + x.std((2, 3), keepdim=True)
    return y + x.logsumexp(1, keepdim=True) + x.cumsum(1)


def _masks(x: Tensor) -> Tensor:
    chosen = torch.where(x > x.mean((2, 3), keepdim=True), x, x.new_zeros(1))
    return chosen.masked_fill(x < -1, 2.0)


def _rolled(x: Tensor) -> Tensor:
    return torch.roll(x, (2, 3), (2, 3)).flip(2) + x[:, :, 0:1] + x[:, 2:3]


def _pieces(x: Tensor) -> Tensor:
    return torch.cat([piece * (i + 1) for i, piece in enumerate(x.split([2, 5, 1], 1))], 1)


def _best(x: Tensor) -> Tensor:
    return x.flatten(2).topk(4, 2).values[..., None] + x.argmax(1, keepdim=True).float().mean()


def _of_images() -> dict[str, Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]]:
    weight_norm = nn.utils.parametrizations.weight_norm
    return {
        "batch_norm": lambda: _images(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True)),
        "activations": lambda: _images(*_activations()),
        "prelu": lambda: _images(nn.PReLU(8), _conv(), nn.PReLU()),
        "group_norm": lambda: _images(nn.GroupNorm(4, 8), _conv(), nn.GroupNorm(1, 8)),
        "instance_norm": lambda: _images(nn.InstanceNorm2d(8, affine=True), _conv(), nn.InstanceNorm2d(8)),
        "layer_norm": lambda: _images(nn.LayerNorm([8, 16, 16])),
        "local_response": lambda: _images(nn.LocalResponseNorm(3)),
        "normalize": lambda: _images(Apply(partial(functional.normalize, dim=1)), weight_norm(_conv())),
        "grouped": lambda: _images(nn.Conv2d(8, 12, 3, 2, 1, groups=4), nn.Conv2d(12, 12, 3, groups=12), width=12),
        "dilated": lambda: _images(nn.Conv2d(8, 8, 3, dilation=2, bias=False), nn.Conv2d(8, 8, (1, 3), padding="same")),
        "transposed": lambda: _images(nn.ConvTranspose2d(8, 6, 3, 2, 1, output_padding=1, groups=2), width=6),
        "pools": lambda: _images(nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(3, 1, 1), nn.MaxPool2d(2, ceil_mode=True)),
        "adaptive": lambda: _images(nn.AdaptiveAvgPool2d(4), nn.AdaptiveMaxPool2d(2)),
        "pixel_shuffle": lambda: _images(nn.PixelShuffle(2), nn.PixelUnshuffle(2), nn.PixelShuffle(2), width=2),
        "paddings": lambda: _images(nn.ReflectionPad2d(1), nn.ReplicationPad2d((1, 2, 0, 1)), nn.ConstantPad2d(1, 0.5)),
        "nearest": lambda: _images(nn.Upsample(scale_factor=2), nn.Upsample(size=(20, 24))),
        "bilinear": lambda: _images(nn.Upsample(size=(20, 24), mode="bilinear"), nn.UpsamplingBilinear2d((40, 30))),
        "flatten": lambda: _images(nn.Flatten(), nn.Linear(8 * 256, 12), nn.Unflatten(1, (12, 1, 1)), width=12),
        "gated": lambda: _images(_conv(), nn.GLU(1), width=4),
        "arithmetic": lambda: _mapped(_arithmetic),
        "reductions": lambda: _mapped(_reductions),
        "masks": lambda: _mapped(_masks),
        "rolled": lambda: _mapped(_rolled),
        "split": lambda: _mapped(_pieces),
        "stacked": lambda: _mapped(lambda x: torch.stack([x, x * 2], 2).flatten(1, 2), width=16),
        "einsum": lambda: _mapped(lambda x: torch.einsum("nchw,ndhw->ncd", x, x)[:, :, :, None]),
        "top": lambda: _mapped(_best),
        **{kind.__name__.lower(): partial(_own, kind) for kind in (Shuffle, Patches, Padded, UNet, Named)},
    }


def _own(kind: Callable[[], nn.Module], *inputs: Tensor) -> tuple[nn.Module, tuple[Tensor, ...]]:
    return kind(), inputs or (torch.randn(IMAGE),)


def _dense() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3, bias=False))


def _lstm() -> nn.Module:
    return Recurrent(nn.LSTM(6, 5, batch_first=True, bidirectional=True))


def _gru() -> nn.Module:
    return Recurrent(nn.GRU(6, 10, 2, batch_first=True))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]] = {
    **_of_images(),
    "words": lambda: _own(Words, torch.randint(20, (2, 6))),
    "two_inputs": lambda: _own(TwoInputs, torch.randn(IMAGE), torch.randn(IMAGE)),
    "volume": lambda: _own(Volume, torch.randn(2, 1, 4, 8, 8)),
    "signal": lambda: _own(Signal, torch.randn(2, 2, 32)),
    "encoder": lambda: _own(Encoder, torch.randn(2, 7, 12)),
    "dense": lambda: _own(_dense, torch.randn(2, 6)),
    "lstm": lambda: _own(_lstm, torch.randn(2, 7, 6)),
    "gru": lambda: _own(_gru, torch.randn(2, 7, 6)),
}


def network(name: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The network, in evaluation mode with weights as after training, and inputs with a batch of 2."""
    torch.manual_seed(0)
    module, inputs = NETWORKS[name]()
    return randomised(module), inputs
