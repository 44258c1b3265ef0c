"""One kind of node: known functions come back, between points and on them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.latency.family import fit

RANDOM = np.random.default_rng(0)


def points(n, *largest):
    return np.stack([RANDOM.integers(4, top + 1, n) for top in largest], 1)


def bilinear(p):
    return 3e-6 + 2e-8 * p[:, 0] + 1e-8 * p[:, 1] + 4e-10 * p[:, 0] * p[:, 1]


def test_a_bilinear_function_everywhere():
    seen, asked = points(25, 256, 512), points(200, 256, 512)
    family = fit(seen, bilinear(seen))
    assert family.blocks == (1, 1) and family.error < 1e-6
    np.testing.assert_allclose(family.time(list(asked.T)), bilinear(asked), rtol=1e-5)
    np.testing.assert_allclose(family.time([512, 1024]), bilinear(np.array([[512, 1024]]))[0], rtol=1e-5)  # beyond


@pytest.mark.parametrize("block", [8, 16, 32])
def test_a_staircase(block):
    """Runtimes compute channels in blocks."""

    def time(p):
        return 1e-6 + 1e-9 * np.ceil(p / block).prod(1) * block**2

    seen, asked = points(40, 128, 128), points(300, 128, 128)
    family = fit(seen, time(seen))
    assert family.blocks == (block, block)
    np.testing.assert_allclose(family.time(list(asked.T)), time(asked), rtol=1e-5)


def test_one_variable_in_steps_and_one_smooth():
    def time(p):
        return 5e-7 * np.ceil(p[:, 0] / 16) * (1 + p[:, 1] / 64)

    seen, asked = points(60, 256, 256), points(100, 256, 256)
    family = fit(seen, time(seen))
    assert family.blocks == (16, 1)
    np.testing.assert_allclose(family.time(list(asked.T)), time(asked), rtol=1e-5)


def test_noise_makes_no_blocks():
    seen = np.arange(8, 257, 8)[:, None]
    times = (1e-6 + 1e-8 * seen[:, 0]) * np.exp(np.random.default_rng(1).normal(0, 0.03, len(seen)))
    assert fit(seen, times).blocks == (1,)


def test_what_no_form_has_is_taken_from_measured_neighbours():
    """A runtime that has another algorithm for narrow layers: the form alone is off by a third."""
    seen = np.arange(16, 1025, 16)[:, None].astype(float)

    def time(sizes):
        return np.where(sizes < 200, 3e-6, 1e-6) * sizes

    family = fit(seen, time(seen[:, 0]))
    assert np.abs(family.residuals).max() > 0.3
    asked = np.array([40, 72, 104, 400, 552, 808, 1000])
    np.testing.assert_allclose(family.time([asked]), time(asked), rtol=0.12)


def test_between_two_points_lies_the_time():
    seen = np.array([[16], [32], [64], [128]])
    times = np.array([1e-5, 1.5e-5, 4e-5, 6e-5])
    family = fit(seen, times)
    middle = family.time([np.array([24, 48, 96])])
    assert (middle > times[:-1]).all() and (middle < times[1:]).all()


def test_of_the_same_size_the_median():
    family = fit(np.array([[8], [8], [8], [16]]), np.array([1e-5, 1e-5, 9.0, 2e-5]))
    assert len(family.points) == 2
    assert float(family.time([8])) == pytest.approx(1e-5, rel=1e-3)


def test_many_variables_add_up():
    """A concatenation of six parts: what 7 samples could never tell of 64 products."""
    seen, asked = points(30, *[100] * 6), points(50, *[100] * 6)

    def time(p):
        return 1e-6 + 1e-8 * p.sum(1)

    family = fit(seen, time(seen))
    assert family.coefficients.shape == (7,)
    np.testing.assert_allclose(family.time(list(asked.T)), time(asked), rtol=1e-3)


def test_a_slip_costs_no_block():
    seen = np.arange(8, 129, 4)[:, None]
    family = fit(seen, 1e-6 * np.ceil(seen[:, 0] / 16))
    assert family.blocks == (16,)
    assert float(family.time([48 + 1e-9])) == pytest.approx(float(family.time([48])))


def test_arrays_are_broadcast():
    seen = points(20, 64, 64)
    family = fit(seen, bilinear(seen))
    found = family.time([np.arange(1, 9), 16])
    assert found.shape == (8,) and float(family.time([3, 16])) == pytest.approx(found[2])


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 3).flatmap(
        lambda n: st.lists(
            st.tuples(st.tuples(*[st.integers(1, 2048)] * n), st.floats(0, 1.0)), min_size=1, max_size=12
        )
    )
)
def test_times_are_positive_numbers(rows):
    """Whatever was measured, clocks that stood still among it."""
    seen = np.array([sizes for sizes, _ in rows])
    family = fit(seen, np.array([seconds for _, seconds in rows]))
    for asked in (seen, seen * 2, np.ones_like(seen)):
        found = family.time(list(asked.T))
        assert np.isfinite(found).all() and (found > 0).all()
