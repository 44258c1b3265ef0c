"""The l1 norm less a share of the Euclidean norm."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.core.errors import InvalidOption
from compressor.training.penalties._penalty import soft_threshold


@dataclass(frozen=True)
class L1MinusL2:
    """rho(x) = sum over i of |x_i| - alpha sqrt(sum over i of x_i^2): nothing, for alpha = 1, where one entry is left.

    Paper: Penghang Yin, Yifei Lou, Qi He, Jack Xin, "Minimization of l1-2 for Compressed Sensing", SIAM J. Sci. Comput.
        37, 2015, doi:10.1137/140952363; Yifei Lou, Ming Yan, "Fast L1-L2 Minimization via a Proximal Operator",
        J. Sci. Comput. 74, 2018, arXiv:1609.09530 (the prox).

    Equations:
        rho'(x)_i = sign(x_i) - alpha x_i / |x|                                             -> `subgradient`
        prox, max |x_i| > t: z (|z| + alpha t) / |z| with z = sign(x) max(|x| - t, 0)       -> `prox`
        prox, (1 - alpha) t < max |x_i| <= t: only the largest entry, max |x_i| + (alpha - 1) t with its sign
        prox, max |x_i| <= (1 - alpha) t: 0

    Notation:
        x: one vector, the tensor of any shape as a whole; |x|: its Euclidean norm; t: strength times step, at least 0.

    Options:
        alpha (float, default 1.0): 0 (l1) to 1.

    Returns:
        See `Penalty`. The strength is the caller's.

    Deviations: of several largest entries the first is kept.

    Raises:
        InvalidOption: alpha is out of range.

    Complexity: O(entries).

    Example:
        |3| + |4| - 5 = 2. And z = (2, 3) of length sqrt(13) = 3.6056 grows by 1 / 3.6056:

        >>> L1MinusL2().value(torch.tensor([3.0, 4.0])).item()
        2.0
        >>> [round(u, 4) for u in L1MinusL2().prox(torch.tensor([3.0, 4.0]), 1.0).tolist()]
        [2.5547, 3.8321]
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise InvalidOption("l1_minus_l2", "alpha", "from 0 to 1", self.alpha)

    def value(self, x: Tensor) -> Tensor:
        """Scalar."""
        return x.abs().sum() - self.alpha * torch.linalg.vector_norm(x)

    def subgradient(self, x: Tensor) -> Tensor:
        """(shape of x)."""
        length = torch.linalg.vector_norm(x)
        return x.sign() - self.alpha * x / length.where(length > 0, 1.0)

    def prox(self, x: Tensor, t: float) -> Tensor:
        """(shape of x)."""
        if not x.numel():
            return x.clone()
        size = x.abs()
        largest, place = size.flatten().max(dim=0)
        near = soft_threshold(x, t)
        length = torch.linalg.vector_norm(near)
        several = near * (1 + self.alpha * t / length.where(length > 0, 1.0))
        one = torch.zeros_like(x).flatten()
        one[place] = (largest + (self.alpha - 1) * t).clamp_min(0) * x.flatten()[place].sign()
        return torch.where(largest > t, several, one.view_as(x))


PLUGIN = L1MinusL2
