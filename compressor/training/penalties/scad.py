"""Smoothly clipped absolute deviation: l1 near 0, then bending, and flat from a multiple of its strength on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.core.errors import InvalidOption
from compressor.training.penalties._penalty import soft_threshold


@dataclass(frozen=True)
class SCAD:
    """rho(x) = sum over i of lambda |x_i| up to lambda, a parabola up to a lambda, lambda^2 (a + 1) / 2 beyond.

    Its strength lambda is inside: multiply it by nothing, and give the step alone as t.

    Paper: Jianqing Fan, Runze Li, "Variable Selection via Nonconcave Penalized Likelihood and Its Oracle Properties",
        J. Am. Stat. Assoc. 96, 2001, doi:10.1198/016214501753382273. As a penalty on batch-norm scales: Kevin Bui,
        Fredrick Park, Shuai Zhang, Yingyong Qi, Jack Xin, "Improving Network Slimming with Nonconvex Regularization",
        IEEE Access 9, 2021, arXiv:2010.01242.

    Equations:
        rho(x_i) = (2 a lambda |x_i| - x_i^2 - lambda^2) / (2 (a - 1)) for lambda < |x_i| <= a lambda   -> `value`
        rho'(x_i) = sign(x_i) lambda, then sign(x_i) (a lambda - |x_i|) / (a - 1), then 0     -> `subgradient`
        prox, t < a - 1: S(x_i, t lambda) if |x_i| <= (1 + t) lambda, then
              sign(x_i) ((a - 1) |x_i| - t a lambda) / (a - 1 - t) if |x_i| <= a lambda, else x_i        -> `prox`
        prox, t >= a - 1: x_i if |x_i| > tau, else S(x_i, t lambda), where
              tau = lambda (a + 1 + t) / 2 if t <= a + 1, else lambda sqrt(t (a + 1))                    -> `prox`

    Notation:
        x_i: an entry of x, any shape; lambda: `strength`; t: step, at least 0; S: the soft threshold.

    Options:
        strength (float, default 1.0): lambda, above 0, the slope at 0.
        a (float, default 3.7): above 2; the penalty is flat beyond `a * strength`.

    Returns:
        See `Penalty`; the strength is inside.

    Deviations: the prox for any step t; the paper's has t = 1. From t = a - 1 on the middle piece is concave, so that
        the answer lies in one of the outer two, and tau is where they cost the same.

    Raises:
        InvalidOption: an option is out of range.

    Complexity: O(entries).

    Example:
        lambda = 1, a = 3: 1 at 1, (12 - 4 - 1) / 4 = 7/4 at 2, and 2 from 3 on.

        >>> [SCAD(1.0, 3.0).value(torch.tensor([x])).item() for x in (1.0, 2.0, 3.0, 9.0)]
        [1.0, 1.75, 2.0, 2.0]
        >>> SCAD(1.0, 3.0).prox(torch.tensor([1.5, 2.5, 4.0]), 1.0).tolist()  # (2 * 2.5 - 3) / 1 = 2
        [0.5, 2.0, 4.0]
    """

    strength: float = 1.0
    a: float = 3.7

    def __post_init__(self) -> None:
        if not 0 < self.strength < math.inf:
            raise InvalidOption("scad", "strength", "a finite number above 0", self.strength)
        if not 2 < self.a < math.inf:
            raise InvalidOption("scad", "a", "a finite number above 2", self.a)

    def value(self, x: Tensor) -> Tensor:
        """Scalar."""
        strength, size = self.strength, x.abs()
        bent = size.clamp(strength, self.a * strength)
        middle = (2 * self.a * strength * bent - bent.square() - strength**2) / (2 * (self.a - 1))
        return torch.where(size <= strength, strength * size, middle).sum()

    def subgradient(self, x: Tensor) -> Tensor:
        """(shape of x)."""
        slope = (self.a * self.strength - x.abs()) / (self.a - 1)
        return x.sign() * slope.clamp(0, self.strength)

    def prox(self, x: Tensor, t: float) -> Tensor:
        """(shape of x)."""
        a, strength, size = self.a, self.strength, x.abs()
        near = soft_threshold(x, t * strength)
        if t >= a - 1:
            factor = (a + 1 + t) / 2 if t <= a + 1 else math.sqrt(t * (a + 1))
            return torch.where(size > strength * factor, x, near)
        middle = x.sign() * ((a - 1) * size - t * a * strength) / (a - 1 - t)
        return torch.where(size <= (1 + t) * strength, near, torch.where(size <= a * strength, middle, x))


PLUGIN = SCAD
