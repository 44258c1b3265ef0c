"""What every penalty offers, and the map that several are built on.

Two conventions, and each class says which is its own. Most penalties are plain functions, and the strength is the
caller's: strength * rho(x) in a loss, prox(x, t = strength * step). MCP and SCAD bend at multiples of their strength,
so it is one of their options and inside `value`; the caller multiplies by nothing, and t is the step alone.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Penalty(Protocol):
    """rho: a function of a tensor of any shape (or of its rows, where the class says so) that is 0 at 0."""

    def value(self, x: Tensor) -> Tensor:
        """Scalar, with gradient."""

    def subgradient(self, x: Tensor) -> Tensor:
        """The derivative of `value`, (shape of x); 0 where x is 0."""

    def prox(self, x: Tensor, t: float) -> Tensor:
        """argmin over u of |u - x|^2 / 2 + t * value(u), (shape of x), t >= 0; where several are, the one nearer 0."""


def soft_threshold(x: Tensor, t: float) -> Tensor:
    """Every entry t nearer to 0, and 0 if it was nearer than that; (shape of x)."""
    return x.sign() * (x.abs() - t).clamp_min(0)
