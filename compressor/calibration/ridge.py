"""Ridge regression from rows that come batch by batch: memory does not grow with their number."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Fit:
    """y = x W + b of every group."""

    weight: Tensor  # (groups, d, k)
    intercept: Tensor  # (groups, k); zeros where none was asked for
    before: float  # sum of squares of what was to be fitted
    after: float  # sum of squares of what the fit leaves


class Sums:
    """The sums that a fit needs, in double precision: d * (d + k) numbers a group, however many rows there are."""

    def __init__(self) -> None:
        self.n_rows = 0
        self.products: Tensor | None = None

    def add(self, x: Tensor, y: Tensor) -> None:
        """Rows x (n, groups, d) and what they are to give, y (n, groups, k)."""
        both = torch.cat([x.new_ones(*x.shape[:2], 1), x, y], 2).double().transpose(0, 1)  # (groups, n, 1 + d + k)
        d, k = x.shape[2], y.shape[2]
        left, right = both[:, :, : 1 + d], both
        products = left.transpose(1, 2) @ right  # (groups, 1 + d, 1 + d + k)
        squares = both[:, :, 1 + d :].square().sum((0, 1))  # (k,)
        if self.products is None:
            self.products, self.squares, self.d, self.k = products, squares, d, k
        else:
            self.products += products
            self.squares += squares
        self.n_rows += len(x)

    def covariance(self) -> Tensor:
        """Of what is read: (groups, d, d)."""
        mean = self._products()[:, 0, 1 : 1 + self.d] / self.n_rows
        return self._products()[:, 1:, 1 : 1 + self.d] / self.n_rows - mean[:, :, None] * mean[:, None, :]

    def _products(self) -> Tensor:
        if self.products is None:
            raise RuntimeError("a fit needs at least one row")
        return self.products

    def fit(self, ridge: float, intercept: bool) -> Fit:
        """Minimises the mean of |y - x W - b|^2 + ridge * (mean variance of x) * |W|^2."""
        mean = self._products()[:, 0] / self.n_rows  # (groups, 1 + d + k)
        total = self._products()[:, 1:] / self.n_rows  # (groups, d, 1 + d + k)
        xx, xy = total[:, :, 1 : 1 + self.d], total[:, :, 1 + self.d :]
        x_mean, y_mean = mean[:, 1 : 1 + self.d], mean[:, 1 + self.d :]
        if intercept:
            xx = xx - x_mean[:, :, None] * x_mean[:, None, :]
            xy = xy - x_mean[:, :, None] * y_mean[:, None, :]
        weight = solve(xx, xy, ridge)
        shift = y_mean - (x_mean[:, None] @ weight)[:, 0] if intercept else torch.zeros_like(y_mean)
        before = float(self.squares.sum())
        explained = 2 * (weight * xy).sum() - (weight * (xx @ weight)).sum()
        constant = y_mean.square().sum() if intercept else 0.0
        return Fit(weight, shift, before, max(0.0, before - self.n_rows * float(explained + constant)))


class KeptRows:
    """The rows themselves, for fits with fewer rows than unknowns: n * d numbers, and an n * n system.

    The same minimiser as that of `Sums`: (X'X + n l)^-1 X'Y = X' (XX' + n l)^-1 Y.
    """

    def __init__(self) -> None:
        self.x: list[Tensor] = []
        self.y: list[Tensor] = []
        self.n_rows = 0

    def add(self, x: Tensor, y: Tensor) -> None:
        """As `Sums.add`."""
        self.x.append(x)
        self.y.append(y)
        self.n_rows += len(x)

    def fit(self, ridge: float, intercept: bool) -> Fit:
        """As `Sums.fit`."""
        if not self.n_rows:
            raise RuntimeError("a fit needs at least one row")
        x, y = (torch.cat(parts).double().transpose(0, 1) for parts in (self.x, self.y))  # (groups, n, d or k)
        x_mean, y_mean = x.mean(1, keepdim=True) * intercept, y.mean(1, keepdim=True) * intercept
        x, centred = x - x_mean, y - y_mean
        level = ridge * x.square().sum((1, 2)) / x.shape[2]  # (groups,): n times the mean variance times the ridge
        kernel = x @ x.transpose(1, 2) + torch.diag_embed(level[:, None].expand(-1, self.n_rows))
        weight = x.transpose(1, 2) @ (torch.linalg.pinv(kernel, hermitian=True) @ centred)
        left = (centred - x @ weight).square().sum()
        shift = (y_mean - x_mean @ weight)[:, 0]
        return Fit(weight, shift, float(y.square().sum()), float(left))


def collector(n_rows: int, n_unknowns: int) -> Sums | KeptRows:
    """The cheaper of the two for so many rows."""
    return Sums() if n_rows > n_unknowns else KeptRows()


def solve(xx: Tensor, xy: Tensor, ridge: float) -> Tensor:
    """(xx + ridge * mean of its diagonal)^-1 xy: (groups, d, d), (groups, d, k) -> (groups, d, k).

    Inputs that are always zero have no say: their weights do not change.

    >>> xx, xy = torch.tensor([[[2.0, 0.0], [0.0, 0.0]]]), torch.tensor([[[4.0], [0.0]]])
    >>> solve(xx.double(), xy.double(), 0.0).flatten().tolist()
    [2.0, 0.0]
    """
    diagonal = xx.diagonal(dim1=1, dim2=2)  # (groups, d)
    alive = diagonal > 1e-12 * diagonal.amax(1, keepdim=True)
    n_alive = alive.sum(1, keepdim=True).clamp_min(1)
    level = ridge * (diagonal * alive).sum(1, keepdim=True) / n_alive  # (groups, 1)
    matrix = xx * alive[:, :, None] * alive[:, None, :]
    matrix = matrix + torch.diag_embed(torch.where(alive, level.expand_as(diagonal), torch.ones_like(diagonal)))
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if bool(failed.any()):  # without a ridge, inputs that are combinations of others
        return torch.linalg.pinv(matrix, hermitian=True) @ (xy * alive[:, :, None])
    return torch.cholesky_solve(xy * alive[:, :, None], factor)
