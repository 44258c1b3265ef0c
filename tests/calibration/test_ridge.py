import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.calibration.ridge import KeptRows, Sums, best_ridge, collector

seeds = st.integers(0, 10_000)


def rows(seed, n, groups, d, k):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, groups, d, generator=generator).double() + 3  # means that are not zero
    return x, torch.randn(n, groups, k, generator=generator).double() - 2


def fitted(kind, x, y, ridge, intercept, n_parts=1):
    sums = kind()
    for part in torch.arange(len(x)).chunk(n_parts):
        sums.add(x[part], y[part])
    return sums.fit(ridge, intercept)


@pytest.mark.parametrize("kind", [Sums, KeptRows])
def test_worked_by_hand(kind):
    # x = 0, 1, 2 and y = 1, 2, 6: means 1 and 3, covariance sums (-1)(-2) + 0 + 1 * 3 = 5 over 2: slope 2.5, b = 0.5.
    # With a ridge of 1 the variance counts twice: slope 1.25, b = 1.75. Without an intercept: 14 / 5.
    x, y = torch.tensor([[[0.0]], [[1.0]], [[2.0]]]), torch.tensor([[[1.0]], [[2.0]], [[6.0]]])
    slopes = [fitted(kind, x, y, 0.0, True), fitted(kind, x, y, 1.0, True), fitted(kind, x, y, 0.0, False)]
    assert [round(float(fit.weight), 6) for fit in slopes] == [2.5, 1.25, 2.8]
    assert [round(float(fit.intercept), 6) for fit in slopes] == [0.5, 1.75, 0]
    sums = kind()
    sums.add(x, y)
    # What is left: 0.5, -1, 0.5; at the start 1 + 4 + 36.
    assert (sums.squares, round(sums.error(slopes[0]), 6)) == (41, 1.5)


@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(1, 3), st.integers(1, 6), st.integers(1, 3), st.booleans(), st.integers(1, 4))
def test_against_the_definition(seed, groups, d, k, intercept, n_parts):
    """A second computation: numpy's least squares on rows that are lengthened by the penalty."""
    x, y = rows(seed, 40, groups, d, k)
    fit = fitted(Sums, x, y, 0.1, intercept, n_parts)
    left = 0.0
    for g in range(groups):
        a, b = x[:, g].numpy(), y[:, g].numpy()
        a_mean, b_mean = (a.mean(0), b.mean(0)) if intercept else (0 * a[0], 0 * b[0])
        level = np.sqrt(0.1 * ((a - a_mean) ** 2).mean() * len(a))
        longer = np.concatenate([a - a_mean, level * np.eye(d)]), np.concatenate([b - b_mean, np.zeros((d, k))])
        weight = np.linalg.lstsq(*longer, rcond=None)[0]
        np.testing.assert_allclose(fit.weight[g].numpy(), weight, atol=1e-9)
        np.testing.assert_allclose(fit.intercept[g].numpy(), b_mean - a_mean @ weight, atol=1e-9)
        left += ((b - a @ weight - (b_mean - a_mean @ weight)) ** 2).sum()
    sums = Sums()
    sums.add(x, y)
    assert sums.squares == pytest.approx(float(y.square().sum()))
    assert sums.error(fit) == pytest.approx(left)


@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(2, 8), st.integers(1, 12), st.booleans(), st.integers(1, 3))
def test_both_ways_give_the_same(seed, n, d, intercept, n_parts):
    x, y = rows(seed, n, 2, d, 3)
    one, other = (fitted(kind, x, y, 0.05, intercept, n_parts) for kind in (Sums, KeptRows))
    torch.testing.assert_close(one.weight, other.weight, atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(one.intercept, other.intercept, atol=1e-6, rtol=1e-6)
    sums, kept = Sums(), KeptRows()
    for each in (sums, kept):
        each.add(x, y)
    assert sums.error(one) == pytest.approx(kept.error(other), rel=1e-6, abs=1e-6)


def test_the_cheaper_way_is_taken():
    assert isinstance(collector(100, 99), Sums) and isinstance(collector(99, 99), KeptRows)


@pytest.mark.parametrize("kind", [Sums, KeptRows])
def test_inputs_that_are_dead_or_copies(kind):
    x, y = rows(0, 30, 1, 3, 2)
    x[:, :, 1], x[:, :, 2] = 0, x[:, :, 0]
    fit = fitted(kind, x, y, 0.0, True)
    assert bool(fit.weight.isfinite().all()) and float(fit.weight[0, 1].abs().max()) < 1e-9
    alone = fitted(kind, x[:, :, :1], y, 0.0, True)
    one, other = kind(), kind()
    one.add(x, y)
    other.add(x[:, :, :1], y)
    assert one.error(fit) == pytest.approx(other.error(alone), rel=1e-6)
    nothing = fitted(kind, 0 * x, y, 1e-3, True)
    assert float(nothing.weight.abs().max()) == 0 and torch.allclose(nothing.intercept, y.mean(0))


@pytest.mark.parametrize("kind", [Sums, KeptRows])
def test_no_rows(kind):
    with pytest.raises(RuntimeError, match="at least one row"):
        kind().fit(0.1, True)


@pytest.mark.parametrize("kind", [Sums, KeptRows])
def test_joined_sums_are_those_of_all_rows(kind):
    x, y = rows(0, 30, 2, 3, 2)
    parts = [kind(), kind()]
    parts[0].add(x[:10], y[:10])
    parts[1].add(x[10:], y[10:])
    both, every = (parts[0] + parts[1]).fit(0.1, True), fitted(kind, x, y, 0.1, True)
    torch.testing.assert_close(both.weight, every.weight)
    assert (parts[0] + parts[1]).squares == pytest.approx(parts[0].squares + parts[1].squares)


@pytest.mark.parametrize("kind", [Sums, KeptRows])
def test_the_ridge_that_does_best_on_other_rows(kind):
    ridges = (1e-6, 1.0, 100.0)
    x, _ = rows(0, 400, 1, 8, 1)
    wide, noise = x[:12], torch.randn(400, 1, 1, generator=torch.Generator().manual_seed(5)).double()
    few, many, held = kind(), kind(), kind()
    few.add(wide, wide[:, :, :1] + noise[:12])
    many.add(x[:300], x[:300, :, :1])
    held.add(x[300:], x[300:, :, :1])
    errors = [held.error(few.fit(ridge, True)) for ridge in ridges]
    assert best_ridge(few, held, ridges, True) == ridges[int(np.argmin(errors))] > ridges[0]
    assert best_ridge(many, held, ridges, True) == ridges[0]
    nothing = kind()
    nothing.add(x[300:], 0 * noise[300:])
    assert best_ridge(few, nothing, ridges, True) is None
