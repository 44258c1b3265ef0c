"""Spatial decomposition: a convolution along the first axis, then one along the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from compressor.decompositions.layers import Convolution, convolution_like
from compressor.decompositions.matrices import MatrixDecomposition
from compressor.decompositions.protocol import Ranks


@dataclass(frozen=True)
class SpatialWise(MatrixDecomposition):
    """Convolution kH x kW, C -> N, becomes a kH x 1 convolution C -> r, followed by a 1 x kW convolution r -> N.

    Paper: Max Jaderberg, Andrea Vedaldi, Andrew Zisserman, "Speeding up Convolutional Neural Networks with Low Rank
        Expansions", BMVC 2014, arXiv:1405.3866, scheme 2; in closed form: Cheng Tai, Tong Xiao, Yi Zhang, Xiaogang
        Wang, Weinan E, "Convolutional neural networks with low-rank regularization", ICLR 2016, arXiv:1511.06067.

    Equations:
        M[(c, y), (n, x)] = W[n, c, y, x], C kH x N kW; M = U S V'            -> `matrices`, and `SingularFactors`
        first = U_r sqrt(S_r), C kH x r; second = sqrt(S_r) V_r', r x N kW    -> `weights`

    Notation:
        n, c, y, x: output channel, input channel, row and column of the kernel; N, C, kH, kW: how many there are.
        r: rank, at most min(C kH, N kW); with G groups each has its matrix C/G kH x N/G kW, and all the same rank.

    Options: none.

    Returns:
        A Sequential of two convolutions. Each has the stride, padding and dilation of its own axis, and the bias is the
        second's. At the full rank it computes the same, with any of them.

    Deviations:
        - In three dimensions the first axis (time, depth) is split off from the other two.

    Raises:
        UnsupportedModel: from `replace_layers`, on a layer that `refusal` has a sentence for.

    Complexity: one SVD, O(C kH N kW min(C kH, N kW)). With stride 1 and kH = kW = k MACs are saved where
        r < N C k / (C + N).

    Example:
        One kernel, the product of a column (1, 2) and a row (3, 4): rank 1 is exact.

        >>> layer = nn.Conv2d(1, 1, 2, bias=False)
        >>> _ = layer.weight.data.copy_(torch.tensor([[[[3.0, 4.0], [6.0, 8.0]]]]))
        >>> split = SpatialWise().factor(layer).replacement((1,))
        >>> [tuple(part.weight.shape) for part in split.module]
        [(1, 1, 2, 1), (1, 1, 1, 2)]
        >>> round(split.module(torch.ones(1, 1, 2, 2)).item(), 4), round(split.relative_error, 6)
        (21.0, 0.0)
    """

    name: ClassVar[str] = "spatial"
    summary: ClassVar[str] = "convolution along one axis, then along the other"
    paper: ClassVar[str] = "Jaderberg et al., BMVC 2014, arXiv:1405.3866"
    use_when: ClassVar[str] = "kernels are 3 x 3 or larger: fewest MACs at the same error"
    needs: ClassVar[frozenset[str]] = frozenset()
    layers: ClassVar[tuple[type[nn.Module], ...]] = (nn.Conv2d, nn.Conv3d)

    def matrices(self, weight: Tensor, groups: int) -> Tensor:
        """(G, C/G kH, N/G kW)."""
        n, c, height = weight.shape[:3]
        apart = weight.reshape(groups, n // groups, c, height, -1)  # (G, N/G, C/G, kH, kW)
        return apart.permute(0, 2, 3, 1, 4).reshape(groups, c * height, -1)

    def weight(self, matrices: Tensor, shape: torch.Size, groups: int) -> Tensor:
        """See `MatrixDecomposition`."""
        n, c, height = shape[:3]
        apart = matrices.reshape(groups, c, height, n // groups, -1)  # (G, C/G, kH, N/G, kW)
        return apart.permute(0, 3, 1, 2, 4).reshape(shape)

    def skeleton(self, layer: nn.Module, ranks: Ranks) -> nn.Module:
        """See `Decomposition`."""
        layer = cast(Convolution, layer)
        width = layer.groups * ranks[0]
        others = range(1, len(layer.kernel_size))
        first = convolution_like(layer, layer.in_channels, width, groups=layer.groups, axes=(0,))
        second = convolution_like(
            layer, width, layer.out_channels, groups=layer.groups, axes=others, bias=layer.bias is not None
        )
        return nn.Sequential(first, second)

    def weights(self, layer: nn.Module, left: Tensor, right: Tensor) -> list[Tensor]:
        """(G r, C/G, kH) and (N, r, kW)."""
        groups, rank, _ = right.shape
        n = cast(Convolution, layer).out_channels
        apart = right.reshape(groups, rank, n // groups, -1)  # (G, r, N/G, kW)
        return [left.transpose(1, 2), apart.transpose(1, 2)]
