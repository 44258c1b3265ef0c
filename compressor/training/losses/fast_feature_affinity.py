"""Feature affinity by random projection: the affinities are multiplied by a few random vectors and never formed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from compressor.core.errors import InvalidOption
from compressor.training.losses._feature_maps import paired, unit_positions


@dataclass(frozen=True)
class FastFeatureAffinity:
    """Estimates the distance of two affinities from what they make of random vectors; needs no labels.

    Paper: Zhijian Li, Biao Yang, Penghang Yin, Yingyong Qi, Jack Xin, "Feature Affinity Assisted Knowledge Distillation
        and Quantization of Deep Neural Networks on Label-Free Data", IEEE Access 11, 2023, arXiv:2302.10899 (fast
        feature affinity); and the authors' program, where the text leaves something open.

    Equations:
        D z = F_S^T (F_S z) - F_T^T (F_T z), z ~ N(0, I)                         -> `projected_difference`
        order 2: sqrt(mean over z of ||D z||^2) / P; E ||D z||^2 = ||D||_F^2     -> `__call__`
        order 1: mean over z of sum of |D z| / P^2                               -> `__call__`

    Notation:
        F: unit channel vectors of one image, (C, P); P = H W positions; S: student, T: teacher.
        D = F_S^T F_S - F_T^T F_T, (P, P), is never formed; z: (P,).

    Options:
        order (int, default 2): 2 estimates order 2 of `feature_affinity`: its square without bias. 1 does not estimate
            order 1 of it: it is sqrt(2/pi) times the sum of the lengths of the rows of D, over P^2, on the average.
        n_projections (int, default 15, at least 1): random vectors a stage. The relative error of the square is at
            most sqrt(2 / n_projections), one standard deviation.

    Returns:
        Scalar >= 0: mean over the images, sum over the stages.

    Deviations:
        - New vectors at every call, from the generator that is handed in. The authors' program seeds PyTorch's own
          generator with 1 at every call, which freezes the vectors and every other random draw of the run.
        - Order 2 by default, for the reason above; the program's is 1.
        - As in `feature_affinity`: mean over the images; no trainable 1x1 convolution, since affinities do not depend
          on the number of channels; lengths below 1e-5 count as 1e-5 (the program divides by 0 there).

    Raises:
        InvalidOption: order neither 1 nor 2, or no projection.
        ContractViolation: maps that do not pair.

    Complexity:
        O(N C P n_projections) time, O(N P n_projections) memory a stage, where the affinities take O(N C P^2) and
        O(N P^2): with P = 32*32, C = 16 and 15 vectors, 34 times fewer multiplications.

    Example:
        Student and teacher of `feature_affinity`'s example: D = ((0, -1), (-1, 0)) turns z over and changes its sign,
        so ||D z||^2 = ||z||^2, which is 2 on the average: sqrt(2) / 2 = 0.71.

        >>> student = torch.eye(2).reshape(1, 2, 1, 2)
        >>> teacher = torch.tensor([3.0, 5.0]).reshape(1, 1, 1, 2)
        >>> projected_difference(student, teacher, torch.tensor([[2.0], [3.0]])).flatten().tolist()
        [-3.0, -2.0]
        >>> loss = FastFeatureAffinity(n_projections=10_000)
        >>> round(float(loss([student], [teacher], torch.Generator().manual_seed(0))), 1)
        0.7
    """

    summary: ClassVar[str] = "cosines between all pairs of positions, estimated by random projection"
    paper: ClassVar[str] = "Li et al., FAQD, IEEE Access 2023, arXiv:2302.10899 (fast form)"
    use_when: ClassVar[str] = "there is a teacher, maps are large, and labels are few or none"
    needs: ClassVar[frozenset[str]] = frozenset({"teacher", "features"})

    order: int = 2
    n_projections: int = 15

    def __post_init__(self) -> None:
        if self.order not in (1, 2):
            raise InvalidOption("fast_feature_affinity", "order", "1 or 2", self.order)
        if self.n_projections < 1:
            raise InvalidOption("fast_feature_affinity", "n_projections", "at least 1", self.n_projections)

    def __call__(
        self, student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor], generator: torch.Generator
    ) -> Tensor:
        """Scalar from maps (N, C, H, W) of each stage; the random vectors come from the generator."""
        losses = []
        for student, teacher in paired("fast_feature_affinity", student_maps, teacher_maps):
            n_positions = student.shape[-2:].numel()
            vectors = torch.randn(n_positions, self.n_projections, generator=generator).to(student)  # (P, k)
            difference = projected_difference(student, teacher, vectors)  # (N, P, k)
            lengths = torch.linalg.vector_norm(difference, ord=self.order, dim=(1, 2))  # (N,)
            n_entries = n_positions**2 * self.n_projections
            losses.append(lengths.mean() / n_entries ** (1 / self.order))
        return torch.stack(losses).sum()


def projected_difference(student: Tensor, teacher: Tensor, vectors: Tensor) -> Tensor:
    """(A_S - A_T) Z of each image: maps (N, C, H, W) and (N, C', H, W), Z (H*W, k) -> (N, H*W, k)."""
    unit, shown = unit_positions(student), unit_positions(teacher)  # (N, C, P), (N, C', P)
    return unit.mT @ (unit @ vectors) - shown.mT @ (shown @ vectors)


PLUGIN = FastFeatureAffinity
