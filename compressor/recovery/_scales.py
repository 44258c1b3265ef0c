"""The scaling matrix Z of neuron merging: which kept channels stand in for a removed one, and how much of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from compressor.core.groups import TensorAxis
from compressor.core.tensors import exact
from compressor.recovery._channels import CutGroup, positions
from compressor.recovery._merging import Maker
from compressor.recovery._moments import rectified_moments

COPY = 1e-5  # a filter this near to a multiple of another one, relative to its length, is one: float32 is no finer


@dataclass(frozen=True)
class Norm:
    """A batch norm in evaluation, each (n_channels, n_positions); `mean` is that of the layer without its bias."""

    gamma: Tensor
    beta: Tensor
    mean: Tensor
    variance: Tensor
    eps: float

    @property
    def sigma(self) -> Tensor:
        """What it divides by."""
        return (self.variance + self.eps).sqrt()


@dataclass(frozen=True)
class Filters:
    """What one layer makes the channels of a group with, in double precision."""

    weight: Tensor  # (n_channels, n_positions, features)
    bias: Tensor  # (n_channels, n_positions)
    norm: Norm | None

    @property
    def plain(self) -> bool:
        """Whether a batch norm follows and every channel is one position of it."""
        return self.norm is not None and self.weight.shape[1] == 1

    def folded(self) -> Tensor:
        """[w, b] of the layer that does the same without a batch norm: (n_channels, n_positions * (features + 1))."""
        weight, bias = self.weight, self.bias
        if self.norm:
            factor = self.norm.gamma / self.norm.sigma
            weight, bias = weight * factor[:, :, None], self.norm.beta - factor * self.norm.mean
        return torch.cat([weight, bias[:, :, None]], 2).flatten(1)


def filters_of(model: nn.Module, maker: Maker, n_channels: int) -> Filters:
    """Reads them.

    Raises:
        UnsupportedModel: an entry is infinite or not a number.
    """

    def read(axis: TensorAxis) -> Tensor:
        places = positions(axis, n_channels)
        assert places is not None  # `obstacle` has looked
        return exact(model, axis.tensor).movedim(axis.axis, 0)[places]

    weight = read(maker.weight).flatten(2)
    bias = read(maker.bias) if maker.bias else weight.new_zeros(weight.shape[:2])
    if not maker.norm:
        return Filters(weight, bias, None)
    gamma, beta, mean, variance = (read(maker.norm[leaf]) for leaf in ("weight", "bias", "running_mean", "running_var"))
    return Filters(weight, bias, Norm(gamma, beta, mean - bias, variance, maker.eps))


def batch_norm_rule(filters: Filters, cut: CutGroup, threshold: float, lam: float, released: bool) -> Tensor:
    """One kept channel for each removed one, by the angle of their filters and the constant left over (2b; 2c).

    S = s * gamma_n / gamma_m * sigma_m / sigma_n and B = beta_n + gamma_n / sigma_n * (s * (mu_m - sigma_m * beta_m /
    gamma_m) - mu_n), with s = ||w_n|| / ||w_m||, n removed and m kept. The released code has the ratios of batch norms
    the other way round, and the variance where the standard deviation belongs.
    """
    assert filters.norm is not None  # `plain` has looked
    rows, norm = filters.weight.flatten(1), filters.norm  # (n, features)
    gamma, beta, mean = (each[:, 0] for each in (norm.gamma, norm.beta, norm.mean))
    sigma = (norm.variance if released else norm.sigma)[:, 0]
    lengths, angles = rows.norm(dim=1), normalize(rows) @ normalize(rows).T
    n, m = cut.gone[:, None], cut.kept[None, :]
    s = lengths[n] / lengths[m]  # (n_gone, n_kept)
    a, b = (m, n) if released else (n, m)
    scale = s * gamma[a] / gamma[b] * sigma[b] / sigma[a]
    left_over = beta[a] + gamma[a] / sigma[a] * (s * (mean[b] - sigma[b] * beta[b] / gamma[b]) - mean[a])
    distance = (left_over / scale).abs()
    usable = scale.isfinite() & distance.isfinite() & (scale > 0)  # not: gamma 0, or of different signs
    cost = lam * (1 - angles[n, m]) + (1 - lam) * _from_0_to_1(distance, usable)
    return _one_each(cost, usable & (angles[n, m] >= threshold), usable, scale)


def folded_rule(rows: Tensor, cut: CutGroup, threshold: float) -> Tensor:
    """The kept channel at the smallest angle to each removed one, times the ratio of their lengths (2a, 2d).

    Args:
        rows: [w, b], (n_channels, features), of all layers that make the channels side by side.
    """
    lengths, angles = rows.norm(dim=1), normalize(rows) @ normalize(rows).T
    n, m = cut.gone[:, None], cut.kept[None, :]
    scale = lengths[n] / lengths[m]
    usable = scale.isfinite() & (scale > 0)
    return _one_each(-angles[n, m], usable & (angles[n, m] >= threshold), usable, scale)


def many_rule(rows: Tensor, cut: CutGroup, threshold: float, ridge: float) -> Tensor:
    """argmin over z >= 0 of ||u_i - sum_m z_m u_m||^2 + r ||z||^2 for each removed channel i (2e)."""
    from scipy.optimize import nnls  # takes a second to import

    kept = rows[cut.kept]
    r = ridge * kept.square().sum(1).mean()
    n_kept = len(kept)
    system = torch.cat([kept.T, r.sqrt() * torch.eye(n_kept, dtype=kept.dtype)]).numpy()  # (features + n_kept, n_kept)
    targets = torch.cat([rows[cut.gone], rows.new_zeros(len(cut.gone), n_kept)], 1).numpy()
    solved = torch.stack([torch.from_numpy(nnls(system, target)[0]) for target in targets])  # (n_gone, n_kept)
    return _near_enough(solved, rows, cut, threshold)


def moments_rule(filters: Filters, cut: CutGroup, threshold: float, ridge: float) -> Tensor:
    """argmin over z of E(a_i - sum_m z_m a_m)^2 + r ||z||^2 for each removed channel i, with a = relu(batch norm).

    Batch norm knows mean and variance of each channel; two channels correlate as their filters do, which is so where
    the inputs of a filter are white.
    """
    assert filters.norm is not None  # `plain` has looked
    rows, norm = filters.weight.flatten(1), filters.norm  # (n, features)
    std = (norm.gamma * norm.variance.sqrt() / norm.sigma)[:, 0]  # eps makes it a little smaller than gamma
    moments = rectified_moments(norm.beta[:, 0], std, normalize(rows) @ normalize(rows).T)
    among_kept = moments[cut.kept][:, cut.kept]  # (n_kept, n_kept)
    r = ridge * among_kept.diagonal().mean()
    if float(r) == 0:  # nothing that stays is ever above 0
        return torch.zeros(len(cut.gone), len(cut.kept), dtype=torch.float64)
    ridged = among_kept + r * torch.eye(len(cut.kept), dtype=r.dtype)
    solved = torch.linalg.solve(ridged, moments[cut.kept][:, cut.gone]).T  # (n_gone, n_kept)
    return _near_enough(solved, rows, cut, threshold)


def with_copies(scales: Tensor, rows: Tensor, cut: CutGroup, threshold: float) -> Tensor:
    """The same Z, but a removed channel that is a positive multiple of a kept one is read as just that."""
    best = folded_rule(rows, cut, threshold)  # (n_gone, n_kept)
    missed = (rows[cut.gone] - best @ rows[cut.kept]).norm(dim=1)
    copies = missed <= COPY * rows[cut.gone].norm(dim=1)
    return torch.where(copies[:, None], best, scales)


def side_by_side(parts: Sequence[Filters]) -> Tensor:
    """The folded filters of all layers that make the channels, as one row a channel."""
    return torch.cat([part.folded() for part in parts], 1)


def _near_enough(scales: Tensor, rows: Tensor, cut: CutGroup, threshold: float) -> Tensor:
    """Rows of zeros for channels whose nearest kept filter is at a cosine below the threshold."""
    cosines = normalize(rows[cut.gone]) @ normalize(rows[cut.kept]).T
    return scales * (cosines.amax(1) >= threshold)[:, None]


def _one_each(cost: Tensor, wanted: Tensor, usable: Tensor, scale: Tensor) -> Tensor:
    """Z with `scale` at the cheapest usable kept channel of each row, if that one is wanted as well."""
    best = cost.masked_fill(~usable, float("inf")).argmin(1, keepdim=True)  # (n_gone, 1)
    found = torch.zeros_like(scale)
    return found.scatter_(1, best, torch.where(wanted, scale, torch.zeros_like(scale)).gather(1, best))


def _from_0_to_1(values: Tensor, usable: Tensor) -> Tensor:
    """Each row stretched so that its smallest usable value is 0 and its largest 1; all 0 where they are equal."""
    low = values.masked_fill(~usable, float("inf")).amin(1, keepdim=True)
    high = values.masked_fill(~usable, float("-inf")).amax(1, keepdim=True)
    stretched = (values - low) / (high - low)
    return torch.where(usable & (high > low), stretched, torch.zeros_like(values))
