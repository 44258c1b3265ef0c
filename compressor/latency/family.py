"""One kind of node at all its sizes: a table of what was measured, and how long it takes in between.

Nodes with the same operator whose shapes differ only in the channels are one family, whichever layer and model they
come from: a 3x3 convolution on 56x56 pixels, of c_in and c_out channels. Runtimes compute channels in blocks, so time
goes up in steps. With u = v rounded up to a block, and non-negative coefficients,

    time(v) = (a + b u1 + c u2 + d u1 u2) * exp(what measured neighbours lie above that)

A node with many variables (a concatenation) has no products. Blocks are chosen per variable: those that leave the
smallest error, where they beat no blocks at all clearly.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

BLOCKS = (1, 4, 8, 16, 32)
CLEARLY = 0.9  # of the error without blocks
MOST_IN_PRODUCTS = 4  # variables
NEAR = 0.25  # width of the neighbourhood, in powers of two
TRUST = 0.5  # so many neighbours' worth of doubt
SLIP = 1e-6  # of a block: sizes are worked out with fractions, and a slip must not cost a whole block
SHORTEST = 1e-7  # seconds; clocks tell nothing below it


@dataclass(frozen=True)
class Family:
    """Fitted to samples. `time` takes arrays."""

    blocks: tuple[int, ...]  # per variable
    scale: np.ndarray  # (n_variables,) largest value seen, so that coefficients are of one size
    coefficients: np.ndarray  # (2 ** n_variables,) seconds; (1 + n_variables,) where there are many
    points: np.ndarray  # (n_samples, n_variables), distinct
    residuals: np.ndarray  # (n_samples,) logarithm of measured over fitted
    error: float  # median of |residual|: of the form alone

    def time(self, values: Sequence[np.ndarray | int]) -> np.ndarray:
        """Seconds where the variables have these values; they are broadcast against each other."""
        shape = np.broadcast_shapes(*(np.shape(value) for value in values))
        flat = np.stack([np.broadcast_to(value, shape).ravel() for value in values], 1).astype(float)  # (n, variables)
        seconds = np.maximum(_features(flat, self.blocks, self.scale) @ self.coefficients, SHORTEST)
        away = np.log2(flat)[:, None, :] - np.log2(self.points)[None]  # (n, n_samples, variables)
        weight = np.exp(-0.5 * (away**2).sum(2) / NEAR**2)
        correction = weight @ self.residuals / (weight.sum(1) + TRUST)
        return (seconds * np.exp(correction)).reshape(shape)


def fit(points: np.ndarray, seconds: np.ndarray) -> Family:
    """
    Args:
        points: (n, n_variables) sizes; at least one row.
        seconds: (n,) that were measured there.
    """
    points, seconds = _distinct(points.astype(float), np.maximum(seconds, SHORTEST))
    scale = points.max(0)
    n_variables = points.shape[1]
    plain = _solve(points, seconds, (1,) * n_variables, scale)
    best, best_blocks = plain, (1,) * n_variables
    # Blocks of more than two variables at once are not worth the search.
    for blocks in itertools.product(BLOCKS, repeat=n_variables) if n_variables <= 2 else ():
        tried = _solve(points, seconds, blocks, scale)
        if tried[1] < min(best[1], CLEARLY * plain[1]):
            best, best_blocks = tried, blocks
    coefficients = best[0]
    fitted = np.maximum(_features(points, best_blocks, scale) @ coefficients, SHORTEST)
    residuals = np.log(seconds / fitted)
    return Family(best_blocks, scale, coefficients, points, residuals, float(np.median(np.abs(residuals))))


def _solve(
    points: np.ndarray, seconds: np.ndarray, blocks: tuple[int, ...], scale: np.ndarray
) -> tuple[np.ndarray, float]:
    """Coefficients with the least relative error, and its root mean square."""
    features = _features(points, blocks, scale)
    coefficients, _ = nnls(features / seconds[:, None], np.ones(len(seconds)))
    return coefficients, float(np.sqrt(np.mean((features @ coefficients / seconds - 1) ** 2)))


def _features(points: np.ndarray, blocks: tuple[int, ...], scale: np.ndarray) -> np.ndarray:
    """Products of all subsets of the variables, rounded up to blocks: (n, 2 ** n_variables); of many, no products."""
    rounded = np.ceil(points / np.array(blocks) - SLIP) * np.array(blocks) / scale
    if points.shape[1] > MOST_IN_PRODUCTS:
        return np.concatenate([np.ones((len(points), 1)), rounded], 1)
    columns = [np.ones(len(points))]
    for variable in range(points.shape[1]):
        columns += [column * rounded[:, variable] for column in columns]
    return np.stack(columns, 1)


def _distinct(points: np.ndarray, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One row for sizes that were measured several times, with the median."""
    rows, place = np.unique(points, axis=0, return_inverse=True)
    place = place.ravel()
    return rows, np.array([np.median(seconds[place == i]) for i in range(len(rows))])
