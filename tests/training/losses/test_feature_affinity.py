import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.core.errors import ContractViolation, InvalidOption
from compressor.training.losses._feature_maps import paired, unit_positions
from compressor.training.losses.cross_entropy import CrossEntropy
from compressor.training.losses.distillation import Distillation
from compressor.training.losses.feature_affinity import FeatureAffinity, affinity_difference

NONE = torch.Generator()
orders = pytest.mark.parametrize("order", [1, 2])


def maps(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loss(order, student, teacher):
    return FeatureAffinity(order)([student], [teacher], NONE)


def test_by_hand():
    # Image 1: the student's positions are at right angles, the teacher's at 45 degrees: the two off-diagonal entries
    # differ by 1/sqrt(2). Image 2: both are parallel.
    student = torch.tensor([[[1.0, 0.0], [0.0, 2.0]], [[1.0, 5.0], [1.0, 5.0]]]).unsqueeze(2)  # (2, 2, 1, 2)
    teacher = torch.tensor([[[3.0, 1.0], [0.0, 1.0]], [[2.0, 1.0], [0.0, 0.0]]]).unsqueeze(2)
    assert loss(1, student, teacher).item() == pytest.approx(2 * math.sqrt(0.5) / 4 / 2)
    assert loss(2, student, teacher).item() == pytest.approx(math.sqrt(2 * 0.5) / 2 / 2)


@orders
def test_stages_are_added(order):
    first, second = (maps(0, 2, 3, 2, 2), maps(1, 2, 5, 2, 2)), (maps(2, 2, 3, 3, 1), maps(3, 2, 5, 3, 1))
    both = FeatureAffinity(order)([first[0], second[0]], [first[1], second[1]], NONE)
    assert torch.allclose(both, loss(order, *first) + loss(order, *second))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
def test_affinities_are_cosines(seed, n_channels, height, width):
    unit = unit_positions(maps(seed, 2, n_channels, height, width))
    affinity = unit.mT @ unit
    assert torch.allclose(affinity.diagonal(dim1=1, dim2=2), torch.ones(2, height * width, dtype=torch.float64))
    assert torch.allclose(affinity, affinity.mT) and affinity.abs().max() <= 1 + 1e-12


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 3), st.sampled_from([1, 2]))
def test_turned_channels_and_scaled_positions_are_the_same(seed, n_channels, n_teacher, order):
    student, teacher = maps(seed, 2, n_channels, 3, 2), maps(seed + 1, 2, n_teacher, 3, 2)
    rotation = torch.linalg.qr(maps(seed + 2, n_channels, n_channels)).Q
    scale = maps(seed + 3, 2, 1, 3, 2).exp()
    turned = scale * torch.einsum("dc,nchw->ndhw", rotation, student)
    assert torch.allclose(loss(order, turned, teacher), loss(order, student, teacher), atol=1e-12)
    assert loss(order, turned, student).item() == pytest.approx(0, abs=1e-12)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 4))
def test_bounds_and_symmetry(seed, n_channels, n_teacher):
    student, teacher = maps(seed, 3, n_channels, 2, 3), maps(seed + 1, 3, n_teacher, 2, 3)
    first, second = loss(1, student, teacher), loss(2, student, teacher)
    assert 0 <= first <= second + 1e-12 and second <= 2
    assert torch.allclose(first, loss(1, teacher, student)) and torch.allclose(second, loss(2, teacher, student))


@orders
def test_the_coefficient_does_not_depend_on_the_batch(order):
    student, teacher = maps(0, 4, 3, 2, 2), maps(1, 4, 3, 2, 2)
    whole = loss(order, student, teacher)
    assert torch.allclose(loss(order, student.repeat(3, 1, 1, 1), teacher.repeat(3, 1, 1, 1)), whole)
    halves = [loss(order, student[part], teacher[part]) for part in (slice(2), slice(2, 4))]
    assert torch.allclose(torch.stack(halves).mean(), whole)  # as several processes share it


@orders
def test_gradients(order):
    student = maps(0, 2, 3, 2, 2).requires_grad_()
    teacher = maps(1, 2, 4, 2, 2).requires_grad_()
    value = loss(order, student, teacher)
    value.backward()
    assert teacher.grad is None
    assert loss(order, student.detach() - 1e-3 * student.grad, teacher) < value
    # Where student and teacher agree, and where no channel is active, there is no slope rather than no number.
    for same in (maps(0, 2, 3, 2, 2), torch.zeros(2, 3, 2, 2)):
        agreeing = same.clone().requires_grad_()
        loss(order, agreeing, same).backward()
        assert torch.isfinite(agreeing.grad).all()


@orders
def test_a_teacher_of_another_size_is_resized_with_corners_on_corners(order):
    student, teacher = maps(0, 1, 2, 3, 3), maps(1, 1, 2, 5, 5)
    resized = teacher[:, :, ::2, ::2]  # every other pixel is where 3 of 5 fall, corners on corners
    assert torch.allclose(loss(order, student, teacher), loss(order, student, resized))


def test_half_precision_is_computed_in_single():
    student, teacher = maps(0, 1, 8, 4, 4).bfloat16(), maps(1, 1, 8, 4, 4).bfloat16()
    assert torch.equal(loss(2, student, teacher), loss(2, student.float(), teacher.float()))


def test_without_labels_the_whole_loss_is_the_same_for_any_labels():
    """The label-free mode: coefficient 0 for cross-entropy."""
    scores, teacher_scores, student, teacher = maps(0, 4, 3), maps(1, 4, 3), maps(2, 4, 2, 2, 2), maps(3, 4, 2, 2, 2)

    def total(labels, label_weight):
        guided = Distillation()(scores, labels, teacher_scores) + 0.1 * loss(1, student, teacher)
        return guided + label_weight * CrossEntropy()(scores, labels, None)

    first, second = torch.tensor([0, 1, 2, 0]), torch.tensor([2, 2, 1, 1])
    assert torch.equal(total(first, 0.0), total(second, 0.0)) and total(first, 0.3) != total(second, 0.3)
    assert "labels" not in FeatureAffinity.needs


def test_affinity_difference_against_its_definition():
    student, teacher = maps(0, 1, 3, 2, 2), maps(1, 1, 2, 2, 2)

    def cosine(one, i, j):
        a, b = one[0].flatten(1)[:, i], one[0].flatten(1)[:, j]
        return a @ b / (a.norm() * b.norm())

    expected = [[cosine(student, i, j) - cosine(teacher, i, j) for j in range(4)] for i in range(4)]
    assert torch.allclose(affinity_difference(student, teacher)[0], torch.tensor(expected, dtype=torch.float64))


def test_bad_input():
    for order in (0, 3, 1.5):
        with pytest.raises(InvalidOption, match=r"feature_affinity: `order` must be 1 or 2"):
            FeatureAffinity(order)
    one = maps(0, 2, 3, 2, 2)
    for student, teacher in (([], []), ([one], [one, one])):
        with pytest.raises(ContractViolation, match="as many maps"):
            FeatureAffinity()(student, teacher, NONE)
    for wrong in (one[0], one[:1]):
        with pytest.raises(ContractViolation, match="of the same images"):
            list(paired("feature_affinity", [one], [wrong]))
