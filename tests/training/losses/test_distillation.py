import math

import pytest
import torch

from compressor.core.errors import ContractViolation, InvalidOption
from compressor.training.losses.distillation import Distillation

GENERATOR = torch.Generator().manual_seed(0)
STUDENT, TEACHER = torch.randn(5, 4, generator=GENERATOR), torch.randn(5, 4, generator=GENERATOR)
NONE = torch.full((5,), -1)


def test_by_hand():
    # T = 2 halves the scores, so student 3/4, 1/4 comes from (2 ln 3, 0); the factor is T^2 = 4.
    student, teacher = torch.tensor([[2 * math.log(3), 0.0]]), torch.zeros(1, 2)
    loss = Distillation(temperature=2.0)(student, torch.tensor([-1]), teacher)
    assert loss.item() == pytest.approx(4 * 0.5 * math.log(4 / 3))


def test_zero_only_up_to_a_constant_a_row():
    shifted = TEACHER + torch.arange(5.0)[:, None]
    assert Distillation()(shifted, NONE, TEACHER).item() == pytest.approx(0, abs=1e-6)
    assert Distillation()(STUDENT, NONE, TEACHER).item() > 0.1


def test_high_temperatures_compare_centred_scores():
    # T^2 KL tends to |centred difference|^2 / (2 K).
    difference = (STUDENT - STUDENT.mean(1, keepdim=True)) - (TEACHER - TEACHER.mean(1, keepdim=True))
    limit = difference.double().square().sum(1).mean() / (2 * 4)
    hot = Distillation(temperature=1000.0)(STUDENT.double(), NONE, TEACHER.double())
    assert hot.item() == pytest.approx(limit.item(), rel=2e-3)


def test_a_step_against_the_gradient_comes_nearer():
    student = STUDENT.clone().requires_grad_()
    loss = Distillation()(student, NONE, TEACHER)
    loss.backward()
    assert Distillation()(student.detach() - 0.1 * student.grad, NONE, TEACHER) < loss


def test_needs_a_teacher_and_a_temperature():
    with pytest.raises(ContractViolation, match="teacher"):
        Distillation()(STUDENT, NONE, None)
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(InvalidOption, match="temperature"):
            Distillation(wrong)
