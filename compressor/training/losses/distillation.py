"""Distillation: the small model learns the original's softened class probabilities, with or without labels.

Paper:
    Geoffrey Hinton, Oriol Vinyals, Jeff Dean, "Distilling the Knowledge in a Neural Network", NIPS 2014 Deep Learning
    Workshop, arXiv 1503.02531, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from compressor.core.errors import ContractViolation, InvalidOption


@dataclass(frozen=True)
class Distillation:
    """T^2 * KL(softmax(teacher / T) || softmax(student / T)), mean over the batch.

    Equations:
        (1) q_i = exp(z_i / T) / sum_j exp(z_j / T): `softmax` and `log_softmax` of the scores over `temperature`.
        Gradients of the soft part shrink as 1 / T^2 (text after equation 1 and section 2.1), hence the factor.

    Notation:
        z: scores before the softmax, (N, K), of student (`scores`) and teacher (`teacher_scores`).
        T: `temperature`, no unit.

    Options:
        temperature: float, above 0, default 4; higher values weigh the wrong classes' scores more.

    Returns:
        Scalar; 0 exactly where student and teacher scores differ by a constant a row.

    Deviations:
        KL divergence in place of the paper's cross-entropy: they differ by the teacher's entropy, which no gradient
        sees, and KL is 0 where the student agrees. How much it weighs against cross-entropy with labels (alpha) is
        the caller's, who sums weighted losses.

    Raises:
        InvalidOption: temperature not above 0.

    Complexity:
        O(N K), beside the teacher's forward pass.

    Example:
        Two classes, T = 1. Teacher (0, 0) says 1/2, 1/2; student (ln 3, 0) says 3/4, 1/4:
        KL = 1/2 ln(1/2 / 3/4) + 1/2 ln(1/2 / 1/4) = 1/2 ln(4/3) = 0.1438.

        >>> import math, torch
        >>> student, teacher = torch.tensor([[math.log(3), 0.0]]), torch.zeros(1, 2)
        >>> round(float(Distillation(temperature=1.0)(student, torch.tensor([-1]), teacher)), 4)
        0.1438
    """

    needs: ClassVar[frozenset[str]] = frozenset({"teacher"})

    temperature: float = 4.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise InvalidOption("distillation", "temperature", "above 0", self.temperature)

    def __call__(self, scores: Tensor, labels: Tensor, teacher_scores: Tensor | None) -> Tensor:
        """Scalar from student and teacher scores (N, K); the labels are not looked at."""
        if teacher_scores is None:
            raise ContractViolation("distillation: the training loop must pass the teacher's scores, but passed none.")
        student = functional.log_softmax(scores / self.temperature, dim=1)  # (N, K)
        teacher = functional.log_softmax(teacher_scores / self.temperature, dim=1)  # (N, K)
        divergence = functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
        return self.temperature**2 * divergence


PLUGIN = Distillation
