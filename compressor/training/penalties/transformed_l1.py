"""A ratio that lies between counting entries and adding them up."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.core.errors import InvalidOption


@dataclass(frozen=True)
class TransformedL1:
    """rho(x) = sum over i of (a + 1) |x_i| / (a + |x_i|): 1 at |x_i| = 1 whatever a is, and never above a + 1.

    Paper: Shuai Zhang, Jack Xin, "Minimization of Transformed L1 Penalty: Closed Form Representation and Iterative
        Thresholding Algorithms", Commun. Math. Sci. 15, 2017, arXiv:1412.5240. As a penalty on batch-norm scales:
        Kevin Bui, Fredrick Park, Shuai Zhang, Yingyong Qi, Jack Xin, "Improving Network Slimming with Nonconvex
        Regularization", IEEE Access 9, 2021, arXiv:2010.01242.

    Equations:
        rho'(x_i) = a (a + 1) sign(x_i) / (a + |x_i|)^2                        -> `subgradient`
        tau = t (a + 1) / a if t <= a^2 / (2 (a + 1)), else sqrt(2 t (a + 1)) - a / 2    -> `prox`
        prox: 0 if |x_i| <= tau, else sign(x_i) (2/3 (a + |x_i|) cos(phi / 3) - 2/3 a + |x_i| / 3),
              phi = arccos(1 - 27 t a (a + 1) / (2 (a + |x_i|)^3))              -> `prox`

    Notation:
        x_i: an entry of x, any shape; t: strength times step, at least 0.

    Options:
        a (float, default 1.0): above 0; the number of entries where it tends to 0, l1 where it is large.

    Returns:
        See `Penalty`. The strength is the caller's.

    Deviations:
        - The prox in another form that does not subtract large numbers: with s = sin(phi / 2),
          |x_i| - 4/3 (a + |x_i|) sin^2(arcsin(s) / 3).

    Raises:
        InvalidOption: a is out of range.

    Complexity: O(entries).

    Example:
        a = 1: 2 * 3 / (1 + 3) = 3/2.

        >>> TransformedL1(1.0).value(torch.tensor([-3.0])).item()
        1.5
        >>> TransformedL1(1.0).prox(torch.tensor([1.25, 0.9]), 0.5).tolist()  # 1 - 1.25 + 0.5 * 2 / (1 + 1)^2 = 0
        [1.0, 0.0]
    """

    a: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.a < math.inf:
            raise InvalidOption("transformed_l1", "a", "a finite number above 0", self.a)

    def value(self, x: Tensor) -> Tensor:
        """Scalar."""
        size = x.abs()
        return ((self.a + 1) * size / (self.a + size)).sum()

    def subgradient(self, x: Tensor) -> Tensor:
        """(shape of x)."""
        return x.sign() * (self.a + 1) / self.a / (1 + x.abs() / self.a).square()

    def prox(self, x: Tensor, t: float) -> Tensor:
        """(shape of x)."""
        a, size = self.a, x.abs()
        gentle = t <= a * a / (2 * (a + 1))
        limit = t * (a + 1) / a if gentle else math.sqrt(2 * t * (a + 1)) - a / 2
        sine = (math.sqrt(27 / 4 * t * a * (a + 1)) * (a + size).pow(-1.5)).clamp_max(1)
        kept = size - 4 / 3 * (a + size) * torch.sin(torch.arcsin(sine) / 3).square()
        return torch.where(size > limit, x.sign() * kept, 0.0)


PLUGIN = TransformedL1
