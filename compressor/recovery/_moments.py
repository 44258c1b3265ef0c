"""Second moments of rectified Gaussians, as batch norm remembers them."""

from __future__ import annotations

import math

import torch
from numpy.polynomial.hermite_e import hermegauss
from torch import Tensor

N_NODES = 64  # of the quadrature
N_TERMS = 13  # of the Hermite series; the next term is below 1e-3 of the whole where the correlation is below 0.9


def rectified_moments(mean: Tensor, std: Tensor, correlation: Tensor) -> Tensor:
    """E[relu(x_i) relu(x_j)] for x jointly Gaussian.

    With x_i = mean_i + std_i * z_i and h_k the k-th normalised Hermite polynomial, relu(x_i) = sum_k c_ik h_k(z_i),
    where c_ik = E[relu(x_i) h_k(z_i)], and so (Mehler) E[relu(x_i) relu(x_j)] = sum_k c_ik c_jk * correlation_ij^k.

    Args:
        mean: (n,) in the activation's unit.
        std: (n,); a negative one turns z_i round.
        correlation: (n, n) of the z, positive semi-definite.

    Returns:
        (n, n), positive semi-definite.
    """
    nodes, weights = (torch.from_numpy(each).to(mean) for each in hermegauss(N_NODES))
    values = torch.relu(mean[:, None] + std[:, None] * nodes) * (weights / weights.sum())  # (n, n_nodes)
    polynomials = [torch.ones_like(nodes), nodes]
    for k in range(2, N_TERMS):
        polynomials.append(nodes * polynomials[-1] - (k - 1) * polynomials[-2])
    moments = torch.zeros_like(correlation)
    for k, polynomial in enumerate(polynomials):
        coefficient = values @ polynomial / math.sqrt(math.factorial(k))  # (n,)
        moments += torch.outer(coefficient, coefficient) * correlation**k
    return moments
