"""The sum of powers between 0 and 1 of the absolute values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.core.errors import InvalidOption

N_STEPS = 30  # of Newton's method; fewer than 10 reach double precision


@dataclass(frozen=True)
class Lp:
    """rho(x) = sum over i of |x_i|^p: between counting entries (p to 0) and adding them up (p = 1).

    Paper: Zongben Xu, Xiangyu Chang, Fengmin Xu, Hai Zhang, "L1/2 Regularization: A Thresholding Representation Theory
        and a Fast Solver", IEEE TNNLS 23, 2012, doi:10.1109/TNNLS.2012.2197412. As a penalty on batch-norm scales:
        Kevin Bui, Fredrick Park, Shuai Zhang, Yingyong Qi, Jack Xin, "Improving Network Slimming with Nonconvex
        Regularization", IEEE Access 9, 2021, arXiv:2010.01242.

    Equations:
        rho'(x_i) = p sign(x_i) |x_i|^(p - 1)           -> `subgradient`
        c = (2 t (1 - p))^(1 / (2 - p)), tau = c + t p c^(p - 1) = c (2 - p) / (2 - 2 p)   -> `prox`
        prox: 0 if |x_i| <= tau, else the larger root u of u - |x_i| + t p u^(p - 1) = 0, with the sign of x_i
        p = 1/2: tau = 3/2 t^(2/3), u = 2/3 |x_i| (1 + cos(2/3 pi - 2/3 arccos(t/4 (|x_i| / 3)^(-3/2))))  -> `_half`

    Notation:
        x_i: an entry of x, any shape; t: strength times step, at least 0.
        tau: where dropping x_i costs as much as the best that keeps it, which is c there.

    Options:
        p (float, default 0.5): above 0, up to 1.
        floor (float, default 1e-3): above 0; the subgradient of smaller |x_i| is that at `floor`.

    Returns:
        See `Penalty`. The strength is the caller's.

    Deviations:
        - The slope at 0 is infinite. Below `floor` it is held, else the last entries would jump from side to side; the
          prox needs no such limit.
        - For other p than 1/2 and 1 the root is found by Newton's method from |x_i|: to the right of c the equation is
          increasing and convex, so that each step stays to the right of the root.

    Raises:
        InvalidOption: an option is out of range.

    Complexity: O(entries), some 30 times that for the prox of a general p.

    Example:
        p = 1/2, t = 2: u = 4 answers x = 4.5, as 4 - 4.5 + 2 * 1/2 * 4^(-1/2) = 0. Zeros begin at
        |x| = 3/2 * 2^(2/3) = 2.381.

        >>> [round(u, 4) for u in Lp(0.5).prox(torch.tensor([4.5, -4.5, 2.38]), 2.0).tolist()]
        [4.0, -4.0, 0.0]
    """

    p: float = 0.5
    floor: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 < self.p <= 1:
            raise InvalidOption("lp", "p", "above 0 and at most 1", self.p)
        if not 0 < self.floor < math.inf:
            raise InvalidOption("lp", "floor", "a finite number above 0", self.floor)

    def value(self, x: Tensor) -> Tensor:
        """Scalar; its gradient at entries that are 0 is not finite."""
        return x.abs().pow(self.p).sum()

    def subgradient(self, x: Tensor) -> Tensor:
        """(shape of x)."""
        return self.p * x.sign() * x.abs().clamp_min(self.floor).pow(self.p - 1)

    def prox(self, x: Tensor, t: float) -> Tensor:
        """(shape of x)."""
        if t == 0:
            return x.clone()
        size = x.abs()
        least = (2 * t * (1 - self.p)) ** (1 / (2 - self.p))  # the smallest u > 0 that is ever the answer
        limit = t if self.p == 1 else least * (2 - self.p) / (2 - 2 * self.p)
        limit = max(limit, math.sqrt(torch.finfo(x.dtype).tiny))  # powers of less overflow
        kept = size > limit
        safe = size.where(kept, 2 * limit)  # no roots where there are none
        root = _half(safe, t) if self.p == 0.5 else self._root(safe, t, least)
        return torch.where(kept, x.sign() * root, 0.0)

    def _root(self, size: Tensor, t: float, least: float) -> Tensor:
        u = size
        for _ in range(N_STEPS):
            slope = 1 - t * self.p * (1 - self.p) * u.pow(self.p - 2)
            u = (u - (u - size + t * self.p * u.pow(self.p - 1)) / slope).clamp_min(least)
        return u


def _half(size: Tensor, t: float) -> Tensor:
    angle = torch.arccos(((t / 4) * (size / 3).pow(-1.5)).clamp_max(1))
    return 2 / 3 * size * (1 + torch.cos(2 / 3 * math.pi - 2 / 3 * angle))


PLUGIN = Lp
