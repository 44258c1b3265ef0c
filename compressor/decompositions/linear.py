"""A linear layer as two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from compressor.decompositions.layers import linear_like
from compressor.decompositions.matrices import MatrixDecomposition
from compressor.decompositions.protocol import Ranks


@dataclass(frozen=True)
class LinearPair(MatrixDecomposition):
    """Linear layer C -> N becomes a linear layer C -> r without bias, followed by one r -> N.

    Paper: Jian Xue, Jinyu Li, Yifan Gong, "Restructuring of Deep Neural Network Acoustic Models with Singular Value
        Decomposition", Interspeech 2013, section 3.

    Equations:
        W = U S V'                                                                   -> `SingularFactors`
        first = sqrt(S_r) V_r', r x C; second = U_r sqrt(S_r), N x r                 -> `weights`

    Notation:
        C, N: inputs and outputs; r: rank, at most min(N, C).

    Options: none.

    Returns:
        A Sequential of two linear layers; the bias is the second's. At the full rank it computes the same.

    Deviations:
        - Both layers get the roots of the singular values; the paper gives all to the one of V.

    Raises:
        UnsupportedModel: from `replace_layers`, on a layer that `refusal` has a sentence for.

    Complexity: one SVD, O(N C min(N, C)). MACs are saved where r < N C / (N + C).

    Example:
        diag(3, 1) loses the 1 at rank 1: 1 / sqrt(9 + 1) of its norm.

        >>> layer = nn.Linear(2, 2, bias=False)
        >>> _ = layer.weight.data.copy_(torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
        >>> split = LinearPair().factor(layer).replacement((1,))
        >>> split.module(torch.ones(1, 2)).round(decimals=4).abs().tolist(), round(split.relative_error, 4)
        ([[3.0, 0.0]], 0.3162)
    """

    name: ClassVar[str] = "linear"
    summary: ClassVar[str] = "two linear layers for one"
    paper: ClassVar[str] = "Xue et al., Interspeech 2013"
    use_when: ClassVar[str] = "large linear layers, of heads or of transformers"
    needs: ClassVar[frozenset[str]] = frozenset()
    layers: ClassVar[tuple[type[nn.Module], ...]] = (nn.Linear,)

    def matrices(self, weight: Tensor, groups: int) -> Tensor:
        """(1, N, C)."""
        return weight[None]

    def weight(self, matrices: Tensor, shape: torch.Size, groups: int) -> Tensor:
        """See `MatrixDecomposition`."""
        return matrices.reshape(shape)

    def skeleton(self, layer: nn.Module, ranks: Ranks) -> nn.Module:
        """See `Decomposition`."""
        layer = cast(nn.Linear, layer)
        first = linear_like(layer, layer.in_features, ranks[0])
        return nn.Sequential(first, linear_like(layer, ranks[0], layer.out_features, bias=layer.bias is not None))

    def weights(self, layer: nn.Module, left: Tensor, right: Tensor) -> list[Tensor]:
        """(r, C) and (N, r)."""
        return [right, left]
