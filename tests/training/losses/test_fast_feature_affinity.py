import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.core.errors import ContractViolation, InvalidOption
from compressor.training.losses.fast_feature_affinity import FastFeatureAffinity, projected_difference
from compressor.training.losses.feature_affinity import FeatureAffinity, affinity_difference


def maps(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loss(student, teacher, seed=0, **options):
    return FastFeatureAffinity(**options)([student], [teacher], torch.Generator().manual_seed(seed))


def test_by_hand():
    # Student: cosine 0 between two positions; teacher: cosine 1. D = ((0, -1), (-1, 0)) turns z over, so |D z| = |z|.
    student, teacher = torch.eye(2).reshape(1, 2, 1, 2), torch.ones(1, 1, 1, 2)
    vectors = torch.randn(2, 5, generator=torch.Generator().manual_seed(3))
    expected = {1: vectors.abs().sum(0).mean() / 4, 2: vectors.square().sum(0).mean().sqrt() / 2}
    for order, value in expected.items():
        found = loss(student, teacher, seed=3, order=order, n_projections=5)
        assert found.item() == pytest.approx(value.item())


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.integers(1, 3))
def test_the_projection_is_that_of_the_affinities(seed, n_channels, n_teacher, height, n_vectors):
    student, teacher = maps(seed, 2, n_channels, height, 3), maps(seed + 1, 2, n_teacher, height, 3)
    vectors = maps(seed + 2, 3 * height, n_vectors)
    expected = affinity_difference(student, teacher) @ vectors
    assert torch.allclose(projected_difference(student, teacher, vectors), expected, atol=1e-12)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 4))
def test_all_axes_as_vectors_give_order_2_exactly(seed, height, width):
    """The identity in place of random vectors; scaled so that the mean of z z^T is the identity, it is the loss."""
    student, teacher = maps(seed, 1, 3, height, width), maps(seed + 1, 1, 2, height, width)
    n = height * width
    axes = projected_difference(student, teacher, torch.eye(n, dtype=torch.float64))
    exact = FeatureAffinity(2)([student], [teacher], torch.Generator())
    assert torch.allclose(axes.norm() / n, exact, atol=1e-12)
    scaled = projected_difference(student, teacher, math.sqrt(n) * torch.eye(n, dtype=torch.float64))
    assert torch.allclose(scaled.square().sum(1).mean().sqrt() / n, exact, atol=1e-12)


def test_the_square_of_order_2_is_unbiased():
    student, teacher = maps(0, 1, 4, 3, 3), maps(1, 1, 4, 3, 3)
    exact = FeatureAffinity(2)([student], [teacher], torch.Generator()).square()
    ratios = torch.stack([loss(student, teacher, seed=seed).square() for seed in range(2000)]) / exact
    spread = ratios.std().item()
    assert 0 < spread <= math.sqrt(2 / 15)  # what the docstring promises of the error
    assert ratios.mean().item() == pytest.approx(1, abs=4 * spread / math.sqrt(2000))


def test_order_1_estimates_lengths_of_rows_and_not_order_1():
    student, teacher = maps(0, 1, 4, 4, 4), maps(1, 1, 4, 4, 4)
    found = loss(student, teacher, order=1, n_projections=20_000).item()
    rows = affinity_difference(student, teacher).norm(dim=2).sum().item()
    assert found == pytest.approx(math.sqrt(2 / math.pi) * rows / 16**2, rel=0.02)
    assert found < 0.5 * FeatureAffinity(1)([student], [teacher], torch.Generator()).item()


@pytest.mark.parametrize("order", [1, 2])
class TestBothOrders:
    def test_same_maps_give_0_with_a_finite_slope(self, order):
        student = maps(0, 2, 3, 2, 2)
        student[:, :, 0, 0] = 0  # a dead position
        agreeing = student.clone().requires_grad_()
        value = loss(agreeing, student, order=order)
        value.backward()
        assert value.item() == pytest.approx(0, abs=1e-12) and torch.isfinite(agreeing.grad).all()

    def test_the_generator_is_all_the_randomness(self, order):
        student, teacher = maps(0, 2, 3, 3, 3), maps(1, 2, 3, 3, 3)
        state = torch.get_rng_state()
        values = [loss(student, teacher, seed=seed, order=order) for seed in (1, 1, 2)]
        assert values[0] == values[1] != values[2] and torch.equal(torch.get_rng_state(), state)

    def test_each_call_draws_new_vectors(self, order):
        student, teacher, generator = maps(0, 2, 3, 3, 3), maps(1, 2, 3, 3, 3), torch.Generator().manual_seed(0)
        one = FastFeatureAffinity(order)
        assert one([student], [teacher], generator) != one([student], [teacher], generator)

    def test_the_coefficient_does_not_depend_on_the_batch(self, order):
        student, teacher = maps(0, 4, 3, 2, 2), maps(1, 4, 3, 2, 2)
        halves = [loss(student[part], teacher[part], order=order) for part in (slice(2), slice(2, 4))]
        assert torch.allclose(torch.stack(halves).mean(), loss(student, teacher, order=order))

    def test_a_step_against_the_gradient_comes_nearer(self, order):
        student, teacher = maps(0, 2, 3, 3, 3).requires_grad_(), maps(1, 2, 3, 3, 3)
        value = loss(student, teacher, order=order)
        value.backward()
        assert loss(student.detach() - 1e-3 * student.grad, teacher, order=order) < value


def test_bad_input():
    with pytest.raises(InvalidOption, match="`order` must be 1 or 2"):
        FastFeatureAffinity(order=3)
    with pytest.raises(InvalidOption, match="`n_projections` must be at least 1"):
        FastFeatureAffinity(n_projections=0)
    with pytest.raises(ContractViolation, match="fast_feature_affinity: there must be as many maps"):
        FastFeatureAffinity()([maps(0, 1, 1, 1, 1)], [], torch.Generator())
