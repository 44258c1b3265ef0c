"""Network decoupling: a convolution as a sum of pairs, each pointwise and then depthwise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from compressor.decompositions.layers import CONVOLUTIONS, Convolution, convolution_like
from compressor.decompositions.matrices import MatrixDecomposition
from compressor.decompositions.protocol import Ranks


class BranchSum(nn.Module):
    """Branches that read the same input; their outputs are added."""

    def __init__(self, branches: Iterable[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of what the branches return."""
        first, *others = self.branches
        total: Tensor = first(x)
        for branch in others:
            total = total + branch(x)
        return total


@dataclass(frozen=True)
class DepthwiseSeparable(MatrixDecomposition):
    """Convolution C -> N becomes a sum of r pairs: 1x1 convolution C -> N, followed by a depthwise one on N channels.

    Paper: Jianbo Guo, Yuxi Li, Weiyao Lin, Yurong Chen, Jianguo Li, "Network Decoupling: From Regular to Depthwise
        Separable Convolutions", BMVC 2018, arXiv:1808.05517, pointwise before depthwise.

    Equations:
        M_n[c, k] = W[n, c, k], C x K; M_n = U_n S_n V_n'                     -> `matrices`, and `SingularFactors`
        pair i: pointwise[n, c] = (U_n sqrt(S_n))[c, i], depthwise[n, k] = (sqrt(S_n) V_n')[i, k]   -> `weights`

    Notation:
        n, c, k: output channel, input channel, number in the kernel; N, C, K: how many there are. S_n: of filter n.
        r: rank of all filters, at most min(C, K); with G groups a filter reads C/G channels.

    Options: none.

    Returns:
        A Sequential of two convolutions for r = 1, a `BranchSum` of r such pairs above. Stride, padding and dilation
        are the depthwise convolutions', the bias is the first pair's. At the full rank it computes the same, with any
        of them.

    Deviations: none.

    Raises:
        UnsupportedModel: from `replace_layers`, on a layer that `refusal` has a sentence for.

    Complexity: N SVDs, O(N C K min(C, K)). With stride 1 MACs are saved where r < C K / (C + K).

    Example:
        One filter on two channels whose kernels are (1, 2) and 3 (1, 2): one pair is exact.

        >>> layer = nn.Conv1d(2, 1, 2, bias=False)
        >>> _ = layer.weight.data.copy_(torch.tensor([[[1.0, 2.0], [3.0, 6.0]]]))
        >>> split = DepthwiseSeparable().factor(layer).replacement((1,))
        >>> round(split.module(torch.ones(1, 2, 2)).item(), 4), round(split.relative_error, 6)
        (12.0, 0.0)
    """

    name: ClassVar[str] = "depthwise"
    summary: ClassVar[str] = "sum of pairs of a 1x1 and a depthwise convolution"
    paper: ClassVar[str] = "Guo et al., Network Decoupling, BMVC 2018, arXiv:1808.05517"
    use_when: ClassVar[str] = "the runtime is good at depthwise convolutions, and one or two pairs are near enough"
    needs: ClassVar[frozenset[str]] = frozenset()
    layers: ClassVar[tuple[type[nn.Module], ...]] = CONVOLUTIONS

    def matrices(self, weight: Tensor, groups: int) -> Tensor:
        """(N, C/G, K)."""
        return weight.flatten(2)

    def weight(self, matrices: Tensor, shape: torch.Size, groups: int) -> Tensor:
        """See `MatrixDecomposition`."""
        return matrices.reshape(shape)

    def skeleton(self, layer: nn.Module, ranks: Ranks) -> nn.Module:
        """See `Decomposition`."""
        layer = cast(Convolution, layer)
        n, everywhere = layer.out_channels, range(len(layer.kernel_size))
        pairs = []
        for branch in range(ranks[0]):
            bias = layer.bias is not None and branch == 0
            pointwise = convolution_like(layer, layer.in_channels, n, groups=layer.groups, axes=())
            depthwise = convolution_like(layer, n, n, groups=n, axes=everywhere, bias=bias)
            pairs.append(nn.Sequential(pointwise, depthwise))
        return pairs[0] if len(pairs) == 1 else BranchSum(pairs)

    def weights(self, layer: nn.Module, left: Tensor, right: Tensor) -> list[Tensor]:
        """(N, C/G) and (N, K), pair by pair."""
        columns, rows = left.unbind(2), right.unbind(1)
        return [values for pair in zip(columns, rows, strict=True) for values in pair]
