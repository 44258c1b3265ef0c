"""Channel-wise decomposition: a convolution with few outputs, then a 1x1 convolution to as many as before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from compressor.decompositions.layers import CONVOLUTIONS, Convolution, convolution_like
from compressor.decompositions.matrices import MatrixDecomposition
from compressor.decompositions.protocol import Ranks


@dataclass(frozen=True)
class ChannelWise(MatrixDecomposition):
    """Convolution C -> N becomes the same convolution C -> r, followed by a 1x1 convolution r -> N.

    Paper: Xiangyu Zhang, Jianhua Zou, Kaiming He, Jian Sun, "Accelerating Very Deep Convolutional Networks for
        Classification and Detection", IEEE TPAMI 2016, arXiv:1505.06798, section 3.1. The matrix is that of Yuhui Xu,
        Yuxi Li, Shuai Zhang, Wei Wen, Botao Wang, Yingyong Qi, Yiran Chen, Weiyao Lin, Hongkai Xiong, "TRP: Trained
        Rank Pruning for Efficient Deep Neural Networks", IJCAI 2020, arXiv:2004.14566.

    Equations:
        M = reshape(W), N x C K; M = U S V'                       -> `matrices`, and `SingularFactors`
        first = sqrt(S_r) V_r', r x C K; second = U_r sqrt(S_r), N x r   -> `weights`

    Notation:
        C, N, K: input channels, output channels, and numbers in a kernel (kH kW).
        r: rank, at most min(N, C K); with G groups each has its matrix N/G x C/G K, and all the same rank.

    Options: none.

    Returns:
        A Sequential of two convolutions. Stride, padding and dilation are the first one's, the bias is the second's.
        At the full rank it computes the same, with any of them.

    Deviations:
        - The weights alone are looked at: the paper minimises the error of the layer's outputs on images.

    Raises:
        UnsupportedModel: from `replace_layers`, on a layer that `refusal` has a sentence for.

    Complexity: one SVD, O(N C K min(N, C K)). With stride 1 MACs are saved where r < N C K / (C K + N).

    Example:
        Two filters on one pixel of two channels, the second filter twice the first: rank 1 is exact.

        >>> layer = nn.Conv2d(2, 2, 1, bias=False)
        >>> _ = layer.weight.data.copy_(torch.tensor([[3.0, 4.0], [6.0, 8.0]])[:, :, None, None])
        >>> split = ChannelWise().factor(layer).replacement((1,))
        >>> split.module(torch.tensor([1.0, 1.0]).reshape(1, 2, 1, 1)).flatten().round(decimals=4).tolist()
        [7.0, 14.0]
        >>> round(split.relative_error, 6)
        0.0
    """

    name: ClassVar[str] = "channel"
    summary: ClassVar[str] = "k x k convolution to few channels, then 1x1"
    paper: ClassVar[str] = "Zhang et al., IEEE TPAMI 2016, arXiv:1505.06798"
    use_when: ClassVar[str] = "layers have many more outputs than they need; the shapes that runtimes do best stay"
    needs: ClassVar[frozenset[str]] = frozenset()
    layers: ClassVar[tuple[type[nn.Module], ...]] = CONVOLUTIONS

    def matrices(self, weight: Tensor, groups: int) -> Tensor:
        """(G, N/G, C/G K)."""
        return weight.reshape(groups, weight.shape[0] // groups, -1)

    def weight(self, matrices: Tensor, shape: torch.Size, groups: int) -> Tensor:
        """See `MatrixDecomposition`."""
        return matrices.reshape(shape)

    def skeleton(self, layer: nn.Module, ranks: Ranks) -> nn.Module:
        """See `Decomposition`."""
        layer = cast(Convolution, layer)
        width = layer.groups * ranks[0]
        everywhere = range(len(layer.kernel_size))
        first = convolution_like(layer, layer.in_channels, width, groups=layer.groups, axes=everywhere)
        second = convolution_like(
            layer, width, layer.out_channels, groups=layer.groups, axes=(), bias=layer.bias is not None
        )
        return nn.Sequential(first, second)

    def weights(self, layer: nn.Module, left: Tensor, right: Tensor) -> list[Tensor]:
        """(G r, C/G, K) and (N, r)."""
        return [right, left]
