"""Minimax concave penalty: like l1 at 0, and flat from a multiple of its strength on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.core.errors import InvalidOption
from compressor.training.penalties._penalty import soft_threshold


@dataclass(frozen=True)
class MCP:
    """rho(x) = sum over i of lambda |x_i| - x_i^2 / (2 a), up to |x_i| = a lambda, and a lambda^2 / 2 beyond.

    Its strength lambda is inside: multiply it by nothing, and give the step alone as t.

    Paper: Cun-Hui Zhang, "Nearly Unbiased Variable Selection under Minimax Concave Penalty", Ann. Statist. 38, 2010,
        doi:10.1214/09-AOS729. As a penalty on batch-norm scales: Kevin Bui, Fredrick Park, Shuai Zhang, Yingyong Qi,
        Jack Xin, "Improving Network Slimming with Nonconvex Regularization", IEEE Access 9, 2021, arXiv:2010.01242.

    Equations:
        rho'(x_i) = sign(x_i) max(lambda - |x_i| / a, 0)                        -> `subgradient`
        prox, t < a: x_i if |x_i| > a lambda, else sign(x_i) max(|x_i| - t lambda, 0) / (1 - t / a)     -> `prox`
        prox, t >= a: x_i if |x_i| > lambda sqrt(t a), else 0                    -> `prox`

    Notation:
        x_i: an entry of x, any shape; lambda: `strength`; t: step, at least 0.

    Options:
        strength (float, default 1.0): lambda, above 0, the slope at 0.
        a (float, default 3.0): above 1; the penalty is flat beyond `a * strength`.

    Returns:
        See `Penalty`; the strength is inside.

    Deviations: the prox for any step t; the paper's has t = 1.

    Raises:
        InvalidOption: an option is out of range.

    Complexity: O(entries).

    Example:
        lambda = 1, a = 2: flat from 2 on, and at 1 it is 1 - 1/4 = 3/4.

        >>> MCP(1.0, 2.0).value(torch.tensor([1.0])).item()
        0.75
        >>> MCP(1.0, 2.0).prox(torch.tensor([0.5, 1.5, 3.0]), 1.0).tolist()  # (1.5 - 1) / (1 - 1/2) = 1
        [0.0, 1.0, 3.0]
    """

    strength: float = 1.0
    a: float = 3.0

    def __post_init__(self) -> None:
        if not 0 < self.strength < math.inf:
            raise InvalidOption("mcp", "strength", "a finite number above 0", self.strength)
        if not 1 < self.a < math.inf:
            raise InvalidOption("mcp", "a", "a finite number above 1", self.a)

    def value(self, x: Tensor) -> Tensor:
        """Scalar."""
        size = x.abs().clamp_max(self.a * self.strength)
        return (self.strength * size - size.square() / (2 * self.a)).sum()

    def subgradient(self, x: Tensor) -> Tensor:
        """(shape of x)."""
        return x.sign() * (self.strength - x.abs() / self.a).clamp_min(0)

    def prox(self, x: Tensor, t: float) -> Tensor:
        """(shape of x)."""
        if t >= self.a:  # concave up to where it is flat: all or nothing
            return torch.where(x.abs() > self.strength * math.sqrt(t * self.a), x, 0.0)
        near = soft_threshold(x, t * self.strength) / (1 - t / self.a)
        return torch.where(x.abs() > self.a * self.strength, x, near)


PLUGIN = MCP
