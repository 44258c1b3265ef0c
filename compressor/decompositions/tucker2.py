"""Tucker-2: a 1x1 convolution to few channels, a small convolution, and a 1x1 convolution to as many as before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from compressor.core.errors import InvalidOption
from compressor.decompositions.layers import CONVOLUTIONS, Convolution, convolution_like, exact_weight, filled, refusal
from compressor.decompositions.matrices import without_rounding
from compressor.decompositions.protocol import Ranks, Replacement


@dataclass(frozen=True)
class Tucker2:
    """Convolution C -> N becomes 1x1, C -> r_in; the convolution r_in -> r_out; and 1x1, r_out -> N.

    Paper: Yong-Deok Kim, Eunhyeok Park, Sungjoo Yoo, Taelim Choi, Lu Yang, Dongjun Shin, "Compression of Deep
        Convolutional Neural Networks for Fast and Low Power Mobile Applications", ICLR 2016, arXiv:1511.06530, section
        3.1. Sweeps: Lieven De Lathauwer, Bart De Moor, Joos Vandewalle, "On the Best Rank-1 and Rank-(R1, R2, ..., RN)
        Approximation of Higher-Order Tensors", SIAM Journal on Matrix Analysis and Applications 21(4), 2000.

    Equations:
        W[n, c, k] ~ sum over i, o of A[n, o] core[o, i, k] B[c, i]                          -> `TuckerFactors`
        A, B: the leading left singular vectors of W unfolded along n, and along c           (HOSVD, the start)
        sweep: B of W x_n A' unfolded along c, then A of W x_c B' unfolded along n           (HOOI)
        core = W x_n A' x_c B'

    Notation:
        n, c, k: output channel, input channel, number in the kernel; N, C, K: how many there are.
        r_in, r_out: ranks, in this order; at most min(C, N K) and min(N, C K), and neither above K times the other.
        With G groups each is taken apart by itself, N/G and C/G channels, and all have the same ranks.

    Options:
        sweeps: int, at least 0, default 3; the error of no sweep is larger than that of the one before.

    Returns:
        A Sequential of three convolutions. Stride, padding and dilation are the middle one's, the bias is the last
        one's. At the full ranks it computes the same, with any of them.

    Deviations:
        - Ranks are the caller's (energy, MACs); the paper takes them from variational Bayesian matrix factorization.
        - A few sweeps after the HOSVD, which is all that the paper takes.

    Raises:
        InvalidOption: sweeps below 0.

    Complexity: 2 (1 + sweeps) SVDs of at most N x C K and C x N K.

    Example:
        One 1x1 kernel with the matrix diag(3, 1): at ranks (1, 1) the 1 is lost, 1 / sqrt(10) of the norm.

        >>> layer = nn.Conv2d(2, 2, 1, bias=False)
        >>> _ = layer.weight.data.copy_(torch.tensor([[3.0, 0.0], [0.0, 1.0]])[:, :, None, None])
        >>> split = Tucker2().factor(layer).replacement((1, 1))
        >>> [tuple(part.weight.shape[:2]) for part in split.module], round(split.relative_error, 4)
        ([(1, 2), (1, 1), (2, 1)], 0.3162)
    """

    name: ClassVar[str] = "tucker2"
    summary: ClassVar[str] = "1x1 to few channels, a small k x k convolution, 1x1 back"
    paper: ClassVar[str] = "Kim et al., ICLR 2016, arXiv:1511.06530"
    use_when: ClassVar[str] = "wide layers whose inputs and outputs are both redundant; a baseline"
    needs: ClassVar[frozenset[str]] = frozenset()
    layers: ClassVar[tuple[type[nn.Module], ...]] = CONVOLUTIONS

    sweeps: int = 3

    def __post_init__(self) -> None:
        if self.sweeps < 0:
            raise InvalidOption("tucker2", "sweeps", "at least 0", self.sweeps)

    def refusal(self, layer: nn.Module) -> str:
        """See `Decomposition`."""
        return refusal(layer, self.layers)

    def factor(self, layer: nn.Module) -> TuckerFactors:
        """See `Decomposition`."""
        return TuckerFactors(self, cast(Convolution, layer))

    def skeleton(self, layer: nn.Module, ranks: Ranks) -> nn.Module:
        """See `Decomposition`."""
        layer = cast(Convolution, layer)
        groups, everywhere = layer.groups, range(len(layer.kernel_size))
        n_in, n_out = (groups * rank for rank in ranks)
        first = convolution_like(layer, layer.in_channels, n_in, groups=groups, axes=())
        core = convolution_like(layer, n_in, n_out, groups=groups, axes=everywhere)
        last = convolution_like(layer, n_out, layer.out_channels, groups=groups, axes=(), bias=layer.bias is not None)
        return nn.Sequential(first, core, last)


class TuckerFactors:
    """One layer's weight, group by group; factors of any ranks are found from it."""

    def __init__(self, decomposition: Tucker2, layer: Convolution) -> None:
        self._decomposition, self._layer = decomposition, layer
        weight = exact_weight(layer).flatten(2)  # (N, C/G, K)
        self._tensor = weight.unflatten(0, (layer.groups, -1))  # (G, N/G, C/G, K)
        self._inputs, along_inputs = _leading(_by_inputs(self._tensor))
        self._outputs, along_outputs = _leading(_by_outputs(self._tensor))
        dtype = layer.weight.dtype
        self.spectra: tuple[Tensor, ...] = (
            without_rounding(along_inputs, dtype),
            without_rounding(along_outputs, dtype),
        )

    def bounded(self, ranks: Ranks) -> Ranks:
        """See `Factorization`."""
        kernel = self._tensor.shape[3]
        rank_in, rank_out = (
            max(1, min(rank, spectrum.shape[1])) for rank, spectrum in zip(ranks, self.spectra, strict=True)
        )
        return min(rank_in, kernel * rank_out), min(rank_out, kernel * rank_in)

    def replacement(self, ranks: Ranks) -> Replacement:
        """See `Factorization`."""
        rank_in, rank_out = self.bounded(ranks)
        tensor = self._tensor
        inputs, outputs = self._inputs[:, :, :rank_in], self._outputs[:, :, :rank_out]
        for _ in range(self._decomposition.sweeps):
            inputs = _leading(_by_inputs(_projected(tensor, outputs=outputs)))[0][:, :, :rank_in]
            outputs = _leading(_by_outputs(_projected(tensor, inputs=inputs)))[0][:, :, :rank_out]
        core = _projected(_projected(tensor, outputs=outputs), inputs=inputs)  # (G, r_out, r_in, K)
        again = torch.einsum("gno,goik,gci->gnck", outputs, core, inputs)
        whole = float(tensor.norm())
        skeleton = self._decomposition.skeleton(self._layer, (rank_in, rank_out))
        module = filled(skeleton, self._layer, [inputs.transpose(1, 2), core, outputs])
        return Replacement(module, float((tensor - again).norm()) / whole if whole else 0.0)


def _by_inputs(tensor: Tensor) -> Tensor:
    return tensor.transpose(1, 2).flatten(2)  # (G, C/G, N/G K)


def _by_outputs(tensor: Tensor) -> Tensor:
    return tensor.flatten(2)  # (G, N/G, C/G K)


def _leading(unfolded: Tensor) -> tuple[Tensor, Tensor]:
    """Left singular vectors (G, rows, K) and singular values (G, K), largest first."""
    if unfolded.shape[2] > unfolded.shape[1]:  # the right ones, which are long, are not needed
        unfolded = torch.linalg.qr(unfolded.mT, mode="r").R.mT  # (G, rows, rows)
    left, singular, _ = torch.linalg.svd(unfolded, full_matrices=False)
    return left, singular


def _projected(tensor: Tensor, *, inputs: Tensor | None = None, outputs: Tensor | None = None) -> Tensor:
    """The tensor (G, N/G, C/G, K) in the coordinates of orthonormal inputs (G, C/G, r) or outputs (G, N/G, r)."""
    if inputs is not None:
        tensor = torch.einsum("gnck,gci->gnik", tensor, inputs)
    if outputs is not None:
        tensor = torch.einsum("gnck,gno->gock", tensor, outputs)
    return tensor
