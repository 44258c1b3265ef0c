import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.core.errors import ContractViolation
from compressor.training.losses.attention_transfer import AttentionTransfer, attention

both = pytest.mark.parametrize("squared", [False, True])


def maps(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loss(student, teacher, squared=False):
    return AttentionTransfer(squared)([student], [teacher], torch.Generator())


def test_by_hand():
    # Attention of the student (1 + 1 + 1, 4), of length 5, and of the teacher (0, 4): the distance of (0.6, 0.8) and
    # (0, 1) is sqrt(0.4). The second image is the same in both.
    student = torch.tensor([[[1.0, 2.0], [-1.0, 0.0], [1.0, 0.0]], [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]]).unsqueeze(2)
    teacher = torch.tensor([[[0.0, -2.0]], [[5.0, 5.0]]]).unsqueeze(2)  # (2, 1, 1, 2)
    assert attention(student)[0].tolist() == pytest.approx([0.6, 0.8])
    assert loss(student, teacher).item() == pytest.approx(math.sqrt(0.4) / 2)
    assert loss(student, teacher, squared=True).item() == pytest.approx(0.4 / 2)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 4), st.floats(0.01, 100))
def test_bounds_and_what_does_not_matter(seed, n_channels, n_teacher, scale):
    student, teacher = maps(seed, 2, n_channels, 3, 2), maps(seed + 1, 2, n_teacher, 3, 2)
    value = loss(student, teacher)
    assert 0 <= value <= math.sqrt(2)  # attention is never negative
    changed = -scale * student[:, torch.randperm(n_channels)]  # size, sign and order of the channels
    assert torch.allclose(loss(changed, teacher), value) and loss(changed, student).item() == pytest.approx(0, abs=1e-7)


@both
def test_layers_are_added_and_images_averaged(squared):
    student, teacher = maps(0, 4, 3, 2, 2), maps(1, 4, 3, 2, 2)
    whole = loss(student, teacher, squared)
    twice = AttentionTransfer(squared)([student, student], [teacher, teacher], torch.Generator())
    assert torch.allclose(twice, 2 * whole)
    each = [loss(student[i : i + 1], teacher[i : i + 1], squared) for i in range(4)]
    assert torch.allclose(torch.stack(each).mean(), whole)


@both
def test_gradients(squared):
    student, teacher = maps(0, 2, 3, 2, 2).requires_grad_(), maps(1, 2, 3, 2, 2).requires_grad_()
    value = loss(student, teacher, squared)
    value.backward()
    assert teacher.grad is None and loss(student.detach() - 1e-2 * student.grad, teacher, squared) < value
    for same in (maps(0, 2, 3, 2, 2), torch.zeros(2, 3, 2, 2)):
        agreeing = same.clone().requires_grad_()
        loss(agreeing, same, squared).backward()
        assert torch.isfinite(agreeing.grad).all()


def test_a_teacher_of_another_size():
    student, teacher = maps(0, 1, 2, 3, 3), maps(1, 1, 2, 5, 5)
    assert torch.allclose(loss(student, teacher), loss(student, teacher[:, :, ::2, ::2]))


def test_bad_input():
    with pytest.raises(ContractViolation, match="attention_transfer: there must be as many maps"):
        AttentionTransfer()([], [], torch.Generator())
