import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage

from compressor.methods._ward import scalar_ward_costs, shared_height_labels


def naive_ward(points):
    """All merges by definition, the cheapest pair first: growths of the sum of squares, and the partitions."""

    def sse(members):
        return ((points[members] - points[members].mean(0)) ** 2).sum()

    clusters = [[i] for i in range(len(points))]
    costs, partitions = [], [[list(c) for c in clusters]]
    while len(clusters) > 1:
        pairs = [(a, b) for a in range(len(clusters)) for b in range(a + 1, len(clusters))]
        growth = [sse(clusters[a] + clusters[b]) - sse(clusters[a]) - sse(clusters[b]) for a, b in pairs]
        cheapest = int(np.argmin(growth))
        a, b = pairs[cheapest]
        costs.append(growth[cheapest])
        clusters = [c for i, c in enumerate(clusters) if i not in (a, b)] + [clusters[a] + clusters[b]]
        partitions.append([list(c) for c in clusters])
    return np.array(costs), partitions


def as_partition(labels):
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)}


@pytest.mark.parametrize("dimension", [1, 4, 9])
def test_the_formula_gives_scipys_heights_and_ours(dimension):
    points = np.random.default_rng(dimension).normal(size=(14, dimension))
    costs, _ = naive_ward(points)
    assert np.allclose(np.sqrt(2 * costs), linkage(points, "ward")[:, 2])
    if dimension == 1:
        assert np.allclose(costs, np.sort(scalar_ward_costs(np.sort(points.T))[0]))


@pytest.mark.parametrize("dimension", [1, 4])
@pytest.mark.parametrize("n_merges", [1, 5, 10])
def test_every_column_is_cut_at_the_dearest_required_merge(dimension, n_merges):
    kernels = np.random.default_rng(0).normal(size=(12, 5, dimension)) * np.array([1, 2, 0.5, 1, 3])[None, :, None]
    columns = [naive_ward(kernels[:, j]) for j in range(5)]
    height = max(costs[n_merges - 1] for costs, _ in columns)
    labels = shared_height_labels(kernels, n_merges)
    for j, (costs, partitions) in enumerate(columns):
        expected = partitions[int((costs <= height).sum())]
        assert as_partition(labels[:, j]) == {frozenset(c) for c in expected}


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 40), st.integers(1, 5), st.booleans(), st.data())
def test_at_most_n_minus_m_clusters_and_some_column_has_just_that_many(n, n_columns, scalar, data):
    kernels = np.random.default_rng(n).normal(size=(n, n_columns, 1 if scalar else 3))
    n_merges = data.draw(st.integers(1, n - 1))
    counts = shared_height_labels(kernels, n_merges).max(axis=0) + 1
    assert counts.max() == n - n_merges


def test_no_merges_leave_every_kernel_to_itself():
    assert shared_height_labels(np.zeros((3, 2, 1)), 0).T.tolist() == [[0, 1, 2]] * 2


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=40, unique=True))
def test_scalar_costs_are_those_of_general_ward(values):
    points = np.sort(np.array(values))[:, None]
    ours, general = np.sort(scalar_ward_costs(points.T)[0]), linkage(points, "ward")[:, 2] ** 2 / 2
    # Equal costs may be merged in another order, which is as good; the first cost and the sum stay.
    assert np.isclose(ours[0], general[0], rtol=1e-6, atol=1e-12)
    assert np.isclose(ours.sum(), ((points - points.mean()) ** 2).sum(), rtol=1e-6)


@pytest.mark.parametrize(
    "row", [np.zeros(300), np.arange(300.0), np.repeat([0.0, 1.0, 5.0], 100), 1.01 ** np.arange(300)]
)
def test_ties_and_growing_gaps(row):
    costs = scalar_ward_costs(row[None])[0]
    assert np.isfinite(costs).all() and (costs >= 0).all()
    assert np.isclose(costs.sum(), ((row - row.mean()) ** 2).sum())


def test_the_input_is_left_alone_and_chunks_agree(monkeypatch):
    rows = np.sort(np.random.default_rng(1).normal(size=(7, 50)))
    before, whole = rows.copy(), scalar_ward_costs(rows)
    monkeypatch.setattr("compressor.methods._ward.CHUNK", 1)
    assert np.array_equal(scalar_ward_costs(rows), whole) and np.array_equal(rows, before)
