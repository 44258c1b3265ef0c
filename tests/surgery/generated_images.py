"""Blocks of random networks that read and return images (B, n, side, side), in the words that people write them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from tests.networks import LayerNorm2d

NORMS = {
    "none": lambda n: nn.Identity(),
    "batch": nn.BatchNorm2d,
    "group of all": lambda n: nn.GroupNorm(1, n),
    "few groups": lambda n: nn.GroupNorm(2, n),
    "many groups": lambda n: nn.GroupNorm(n // 2, n),
    "instance": lambda n: nn.InstanceNorm2d(n, affine=True),
    "layer": LayerNorm2d,
}
ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "hardswish": nn.Hardswish, "tanh": nn.Tanh, "leaky": nn.LeakyReLU}


class Conv(nn.Sequential):
    """Convolution, norm, activation."""

    def __init__(self, n: int, out: int, kernel: int, groups: int, norm: str, act: str) -> None:
        conv = nn.Conv2d(n, out, kernel, padding=kernel // 2, groups=groups, bias=norm == "none")
        super().__init__(conv, NORMS[norm](out), ACTIVATIONS[act]())


class Transposed(nn.Sequential):
    """Transposed convolution; doubles the image with stride 2."""

    def __init__(self, n: int, out: int, stride: int, groups: int) -> None:
        super().__init__(nn.ConvTranspose2d(n, out, stride, stride=stride, groups=groups), nn.PReLU(out))


class Depthwise(nn.Sequential):
    """One filter per channel, or several."""

    def __init__(self, n: int, multiplier: int) -> None:
        super().__init__(nn.Conv2d(n, n * multiplier, 3, padding=1, groups=n), nn.Hardswish())


class Blur(nn.Module):
    """One fixed filter per channel, in a buffer."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.rand(n, 1, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(functional.pad(x, (1, 1, 1, 1), "reflect"), self.kernel, groups=x.shape[1])


class Residual(nn.Module):
    """A bottleneck with a layer scale, added to the stream."""

    def __init__(self, n: int, inner: int, norm: str) -> None:
        super().__init__()
        self.conv1, self.norm = nn.Conv2d(n, inner, 3, padding=1), NORMS[norm](inner)
        self.conv2, self.gamma = nn.Conv2d(inner, n, 1), nn.Parameter(torch.rand(n, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gamma * self.conv2(torch.relu(self.norm(self.conv1(x))))


class PaddedShortcut(nn.Module):
    """The shortcut of the CIFAR ResNets: new channels are zeros before and after."""

    def __init__(self, n: int, out: int) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(n, out, 3, padding=1), nn.BatchNorm2d(out)
        self.before, self.after = (out - n) // 2, (out - n + 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)) + functional.pad(x, (0, 0, 0, 0, self.before, self.after)))


class Branches(nn.Module):
    """Three branches, the third of them twice."""

    def __init__(self, n: int, left: int, right: int) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(n, left, 1), nn.Conv2d(n, right, 3, padding=1)
        self.norm = nn.BatchNorm2d(left + 2 * right + n)

    def forward(self, x: Tensor) -> Tensor:
        right = torch.sigmoid(self.right(x))
        return self.norm(torch.cat([self.left(x), right, functional.max_pool2d(x, 3, 1, 1), right], 1))


class Dense(nn.Module):
    """New channels are appended, twice."""

    def __init__(self, n: int, growth: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(n, growth, 3, padding=1), nn.Conv2d(n + growth, growth, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, torch.relu(self.first(x))], 1)
        return torch.cat([x, torch.relu(self.second(x))], 1)


class SplitInPlaces(nn.Module):
    """C2f: two halves from one convolution, one of them goes on; all are joined again."""

    def __init__(self, n: int, c: int, out: int, by: str) -> None:
        super().__init__()
        self.c, self.by = c, by
        self.cv1, self.m, self.cv2 = nn.Conv2d(n, 2 * c, 1), nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(3 * c, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.cv1(x))
        if self.by == "chunk":
            y = list(x.chunk(2, 1))
        elif self.by == "split":
            y = list(x.split((self.c, self.c), 1))
        else:
            y = [x[:, : self.c], x[:, self.c :]]
        return self.cv2(torch.cat([*y, torch.tanh(self.m(y[-1]))], 1))


class UnevenSplit(nn.Module):
    """GhostNet, Inception-NeXt: some channels pass a depthwise filter, the others go on as they are."""

    def __init__(self, n: int, worked: int) -> None:
        super().__init__()
        self.sizes = (n - worked, worked)
        self.conv, self.read = nn.Conv2d(worked, worked, 3, padding=1, groups=worked), nn.Conv2d(n, n, 1)

    def forward(self, x: Tensor) -> Tensor:
        same, worked = torch.split(x, self.sizes, dim=1)
        return x + self.read(torch.cat((same, self.conv(worked)), dim=1))


class Shuffle(nn.Module):
    """ShuffleNet: half of the channels are worked on, then both halves are interleaved."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.groups = 2
        self.conv, self.bn = nn.Conv2d(n // 2, n // 2, 1), nn.BatchNorm2d(n // 2)

    def forward(self, x: Tensor) -> Tensor:
        same, worked = x.chunk(2, dim=1)
        x = torch.cat((same, torch.relu(self.bn(self.conv(worked)))), dim=1)
        n, channels, height, width = x.shape
        x = x.view(n, self.groups, channels // self.groups, height, width)
        return torch.transpose(x, 1, 2).contiguous().view(n, channels, height, width)


class Gate(nn.Module):
    """Squeeze and excitation, with convolutions or with linear layers."""

    def __init__(self, n: int, inner: int, linear: bool) -> None:
        super().__init__()
        self.linear = linear
        kind = nn.Linear if linear else lambda a, b: nn.Conv2d(a, b, 1)
        self.squeeze, self.excite = kind(n, inner), kind(inner, n)

    def forward(self, x: Tensor) -> Tensor:
        if self.linear:
            n, c, _, _ = x.shape
            y = functional.adaptive_avg_pool2d(x, 1).view(n, c)
            return x * self.excite(torch.relu(self.squeeze(y))).sigmoid().view(n, c, 1, 1).expand_as(x)
        return x * torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))


class SpatialGate(nn.Module):
    """CBAM: every pixel is weighed by the mean and the largest of its channels."""

    sees_zeros = True

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.mean(1, keepdim=True), torch.max(x, dim=1, keepdim=True)[0]], 1)
        return x * torch.sigmoid(self.conv(pooled))


class GatedHalves(nn.Module):
    """One half times the sigmoid of the other."""

    def __init__(self, n: int, out: int, glu: bool) -> None:
        super().__init__()
        self.conv, self.glu = nn.Conv2d(n, 2 * out, 1), glu

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.glu:
            return functional.glu(x, dim=1)
        a, b = x.chunk(2, dim=1)
        return a * b.sigmoid()


class PixelShuffle(nn.Module):
    """Four channels become one with twice as many rows and columns."""

    def __init__(self, n: int, out: int, by_view: bool) -> None:
        super().__init__()
        self.conv, self.by_view = nn.Conv2d(n, 4 * out, 1), by_view

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if not self.by_view:
            return functional.pixel_shuffle(x, 2)
        b, c, h, w = x.shape
        return x.view(b, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(b, c // 4, 2 * h, 2 * w)


class PixelUnshuffle(nn.Module):
    """Blocks of 2 x 2 pixels become channels: inside a channel, or outside as Swin's patch merging does."""

    def __init__(self, n: int, out: int, by_slices: bool) -> None:
        super().__init__()
        self.by_slices, self.read = by_slices, nn.Conv2d(4 * n, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        if not self.by_slices:
            return self.read(functional.pixel_unshuffle(x, 2))
        corners = [x[:, :, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        return self.read(torch.cat(corners, 1))


class Windows(nn.Module):
    """A linear layer on the tokens of 2 x 2 windows."""

    def __init__(self, n: int, inner: int) -> None:
        super().__init__()
        self.window = 2
        self.fc1, self.fc2 = nn.Linear(n, inner), nn.Linear(inner, n)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        size = self.window
        windows = x.view(b, c, h // size, size, w // size, size).permute(0, 2, 4, 3, 5, 1).reshape(-1, size * size, c)
        windows = self.fc2(functional.gelu(self.fc1(windows))).roll(1, 1)
        windows = windows.view(b, h // size, w // size, size, size, c).permute(0, 5, 1, 3, 2, 4)
        return x + windows.reshape(b, c, h, w)


class Twice(nn.Module):
    """One convolution is called twice, or two have one weight."""

    def __init__(self, n: int, tied: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(n, n, 3, padding=1), nn.Conv2d(n, n, 3, padding=1)
        if tied:
            self.second.weight = self.first.weight
        else:
            self.second = self.first

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(torch.relu(self.first(x))))


class Normed(nn.Module):
    """A weight that is computed from two."""

    sees_zeros = True  # 0 / 0

    def __init__(self, n: int, out: int) -> None:
        super().__init__()
        self.conv = weight_norm(nn.Conv2d(n, out, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.conv(x))


class Volume(nn.Module):
    """A short film of two pictures."""

    def __init__(self, n: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(n, out, (2, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(torch.stack([x, x.flip(3)], 2)).squeeze(2)


class Written(nn.Module):
    """Two results are written into one tensor."""

    def __init__(self, n: int, left: int, right: int) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(n, left, 1), nn.Conv2d(n, right, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.left(x), self.right(x)
        out = x.new_empty(x.shape[0], a.shape[1] + b.shape[1], *x.shape[2:])
        out[:, : a.shape[1]] = a
        out[:, a.shape[1] :] = b
        return out


class Resize(nn.Module):
    """Half the rows and columns."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "max":
            return functional.max_pool2d(x, 2)
        if self.how == "mean":
            return functional.avg_pool2d(x, 2)
        return functional.interpolate(x, scale_factor=0.5, mode="bilinear")
