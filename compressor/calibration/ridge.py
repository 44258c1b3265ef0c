"""Ridge regression from rows that come batch by batch: memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Fit:
    """y = x W + b of every group."""

    weight: Tensor  # (groups, d, k)
    intercept: Tensor  # (groups, k); zeros where none was asked for


class Sums:
    """The sums that a fit needs, in double precision: d * (d + k) numbers a group, however many rows there are."""

    def __init__(self) -> None:
        self.n_rows = 0
        self._products: Tensor | None = None  # of (1, x) with (1, x, y)
        self.squares = 0.0  # of y

    def add(self, x: Tensor, y: Tensor) -> None:
        """Rows x (n, groups, d) and what they are to give, y (n, groups, k)."""
        both = torch.cat([x.new_ones(*x.shape[:2], 1), x, y], 2).double().transpose(0, 1)  # (groups, n, 1 + d + k)
        self.d = x.shape[2]
        products = both[:, :, : 1 + self.d].transpose(1, 2) @ both  # (groups, 1 + d, 1 + d + k)
        self._products = products if self._products is None else self._products + products
        self.squares += float(both[:, :, 1 + self.d :].square().sum())
        self.n_rows += len(x)

    @property
    def products(self) -> Tensor:
        """Sums over the rows, (groups, 1 + d, 1 + d + k): of 1 and each x, times 1, each x and each y."""
        if self._products is None:
            raise RuntimeError("a fit needs at least one row")
        return self._products

    def __add__(self, other: Sums) -> Sums:
        """The sums over both."""
        both = Sums()
        both.n_rows, both.squares, both.d = self.n_rows + other.n_rows, self.squares + other.squares, self.d
        both._products = self.products + other.products
        return both

    def covariance(self) -> Tensor:
        """Of what is read: (groups, d, d)."""
        mean = self.products[:, 0, 1 : 1 + self.d] / self.n_rows
        return self.products[:, 1:, 1 : 1 + self.d] / self.n_rows - mean[:, :, None] * mean[:, None, :]

    def fit(self, ridge: float, intercept: bool) -> Fit:
        """Minimises the mean of |y - x W - b|^2 + ridge * (mean variance of x) * |W|^2."""
        mean = self.products[:, 0, 1:] / self.n_rows * intercept  # (groups, d + k)
        total = self.products[:, 1:, 1:] / self.n_rows  # (groups, d, d + k)
        x_mean, y_mean = mean[:, : self.d], mean[:, self.d :]
        xx = total[:, :, : self.d] - x_mean[:, :, None] * x_mean[:, None, :]
        xy = total[:, :, self.d :] - x_mean[:, :, None] * y_mean[:, None, :]
        weight = solve(xx, xy, ridge)
        return Fit(weight, y_mean - (x_mean[:, None] @ weight)[:, 0])

    def error(self, fit: Fit) -> float:
        """Sum of |y - x W - b|^2 over these rows."""
        both = torch.cat([fit.intercept[:, None], fit.weight], 1)  # (groups, 1 + d, k)
        xx, xy = self.products.split([1 + self.d, self.products.shape[2] - 1 - self.d], 2)
        return max(0.0, self.squares - float((both * (2 * xy - xx @ both)).sum()))


@dataclass
class KeptRows:
    """The rows themselves, for fits with fewer rows than unknowns: n * d numbers, and an n * n system.

    The same minimiser as that of `Sums`: (X'X + n l)^-1 X'Y = X' (XX' + n l)^-1 Y.
    """

    rows: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def add(self, x: Tensor, y: Tensor) -> None:
        """As `Sums.add`."""
        self.rows.append((x, y))

    def __add__(self, other: KeptRows) -> KeptRows:
        return KeptRows([*self.rows, *other.rows])

    @property
    def squares(self) -> float:
        """As `Sums.squares`."""
        return sum(float(y.double().square().sum()) for _, y in self.rows)

    def fit(self, ridge: float, intercept: bool) -> Fit:
        """As `Sums.fit`."""
        x, y = self._joined()  # (groups, n, d or k)
        x_mean, y_mean = x.mean(1, keepdim=True) * intercept, y.mean(1, keepdim=True) * intercept
        x, y = x - x_mean, y - y_mean
        level = ridge * x.square().sum((1, 2)) / x.shape[2]  # (groups,): n times the mean variance times the ridge
        kernel = x @ x.transpose(1, 2) + torch.diag_embed(level[:, None].expand(-1, x.shape[1]))
        weight = x.transpose(1, 2) @ (torch.linalg.pinv(kernel, hermitian=True) @ y)
        return Fit(weight, (y_mean - x_mean @ weight)[:, 0])

    def error(self, fit: Fit) -> float:
        """As `Sums.error`."""
        x, y = self._joined()
        return float((y - x @ fit.weight - fit.intercept[:, None]).square().sum())

    def _joined(self) -> tuple[Tensor, Tensor]:
        if not self.rows:
            raise RuntimeError("a fit needs at least one row")
        x, y = (torch.cat(parts).double().transpose(0, 1) for parts in zip(*self.rows, strict=True))
        return x, y


def collector(n_rows: int, n_unknowns: int) -> Sums | KeptRows:
    """The cheaper of the two for so many rows."""
    return Sums() if n_rows > n_unknowns else KeptRows()


def best_ridge(
    fitted: Sums | KeptRows, held: Sums | KeptRows, ridges: Sequence[float], intercept: bool
) -> float | None:
    """The ridge whose fit to the first leaves the least error on the second; None if each is worse than no fit."""
    errors = {ridge: held.error(fitted.fit(ridge, intercept)) for ridge in ridges}
    best = min(errors, key=lambda ridge: errors[ridge])
    return best if errors[best] < held.squares else None


def solve(xx: Tensor, xy: Tensor, ridge: float) -> Tensor:
    """(xx + ridge * mean of its diagonal)^-1 xy: (groups, d, d), (groups, d, k) -> (groups, d, k).

    Inputs that are always zero have no say: their weights do not change.

    >>> xx, xy = torch.tensor([[[2.0, 0.0], [0.0, 0.0]]]), torch.tensor([[[4.0], [0.0]]])
    >>> [round(float(w), 9) for w in solve(xx.double(), xy.double(), 0.0).flatten()]
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
