"""The ResNets for CIFAR-10 of He et al. (2016, arXiv:1512.03385, section 4.2), with shortcuts of option A (no weights).

compress --arch benchmarks/cifar_resnet.py:resnet20 ... resnet20_cifar10.pt
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; where the width grows, the shortcut is subsampled and padded with zero channels."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.stride, self.n_padded = stride, (n_out - n_in) // 2

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in, H, W) -> (N, n_out, H/stride, W/stride)."""
        inner = functional.relu(self.bn1(self.conv1(x)))
        inner = self.bn2(self.conv2(inner))
        if self.stride > 1:
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.n_padded, self.n_padded))
        return functional.relu(inner + x)


class CifarResNet(nn.Module):
    """Three stages of `n_blocks` blocks with 16, 32 and 64 channels; 6 * n_blocks + 2 layers."""

    def __init__(self, n_blocks: int, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, n_blocks, 1)
        self.layer2 = self._stage(16, 32, n_blocks, 2)
        self.layer3 = self._stage(32, 64, n_blocks, 2)
        self.linear = nn.Linear(64, num_classes)

    @staticmethod
    def _stage(n_in: int, n_out: int, n_blocks: int, stride: int) -> nn.Sequential:
        first = BasicBlock(n_in, n_out, stride)
        return nn.Sequential(first, *(BasicBlock(n_out, n_out, 1) for _ in range(n_blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 32, 32) -> (N, num_classes)."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean(dim=(2, 3)))


def resnet20(num_classes: int = 10) -> nn.Module:
    """0.27 M parameters, 41 M multiply-accumulates."""
    return CifarResNet(3, num_classes)


def resnet56(num_classes: int = 10) -> nn.Module:
    """0.85 M parameters, 126 M multiply-accumulates."""
    return CifarResNet(9, num_classes)
