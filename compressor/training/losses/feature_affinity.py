"""Feature affinity: which places of an image look alike to the teacher shall look alike to the student."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from compressor.core.errors import InvalidOption
from compressor.training.losses._feature_maps import paired, unit_positions


@dataclass(frozen=True)
class FeatureAffinity:
    """Distance of the cosines between all pairs of positions, student against teacher; needs no labels.

    Paper: Zhijian Li, Biao Yang, Penghang Yin, Yingyong Qi, Jack Xin, "Feature Affinity Assisted Knowledge Distillation
        and Quantization of Deep Neural Networks on Label-Free Data", IEEE Access 11, 2023, arXiv:2302.10899; and the
        authors' program, where the text leaves something open.

    Equations:
        F = f / ||f||, position by position                               -> `unit_positions`
        A = F^T F                                                         -> in `affinity_difference`
        order 1: sum of |A_S - A_T| / P^2; order 2: ||A_S - A_T||_F / P   -> `__call__`

    Notation:
        f: feature map of one image, (C, P); P = H W positions.
        A: affinity, (P, P), cosines, no unit; S: student, T: teacher, brought to the student's H and W.

    Options:
        order (int, default 1): 1, or 2 for the Frobenius norm, which `fast_feature_affinity` estimates.

    Returns:
        Scalar >= 0: mean over the images, sum over the stages. Order 1 is at most 2 a stage, order 2 as well, and order
        1 is at most order 2. 0 where the student's channels are the teacher's turned, and scaled place by place.

    Deviations:
        - Mean over the images. The authors' program sums them (order 1) or takes one norm over the batch (order 2), so
          that the coefficient depends on the batch size. A mean of each image's own loss is also the same however many
          processes share the batch.
        - The student has no trainable 1x1 convolution with ReLU before the comparison: affinities do not depend on the
          number of channels.
        - Vectors are divided by their length, or by 1e-5 where they are shorter; the program adds 1e-5. So cosines are
          exact, and positions where all channels are 0 have affinity 0.
        - What it weighs against other losses is the caller's; the authors take 1 for distillation of the scores, 0.1
          for each stage and 0.3 for cross-entropy, or 0 for it without labels. Their 0.1 is for sums over 100 images.

    Raises:
        InvalidOption: order neither 1 nor 2.
        ContractViolation: maps that do not pair.

    Complexity:
        O(N C P^2) time and O(N P^2) memory a stage: 128 images of 32x32 positions take 512 MiB for each affinity. The
        fast form needs neither.

    Example:
        Two positions. The student's vectors (1, 0) and (0, 1) have nothing in common: cosine 0. The teacher's single
        channel shows 3 and 5: cosine 1. Two of the four entries differ by 1: order 1 gives 2/4, order 2 sqrt(2)/2.

        >>> student = torch.eye(2).reshape(1, 2, 1, 2)
        >>> teacher = torch.tensor([3.0, 5.0]).reshape(1, 1, 1, 2)
        >>> float(FeatureAffinity()([student], [teacher], torch.Generator()))
        0.5
        >>> round(float(FeatureAffinity(order=2)([student], [teacher], torch.Generator())), 4)
        0.7071
    """

    summary: ClassVar[str] = "cosines between all pairs of positions, student against teacher"
    paper: ClassVar[str] = "Li et al., FAQD, IEEE Access 2023, arXiv:2302.10899"
    use_when: ClassVar[str] = "there is a teacher, maps are small (32x32 and below), and labels are few or none"
    needs: ClassVar[frozenset[str]] = frozenset({"teacher", "features"})

    order: int = 1

    def __post_init__(self) -> None:
        if self.order not in (1, 2):
            raise InvalidOption("feature_affinity", "order", "1 or 2", self.order)

    def __call__(
        self, student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor], generator: torch.Generator
    ) -> Tensor:
        """Scalar from maps (N, C, H, W) of each stage; nothing is drawn from the generator."""
        losses = []
        for student, teacher in paired("feature_affinity", student_maps, teacher_maps):
            difference = affinity_difference(student, teacher)  # (N, P, P)
            lengths = torch.linalg.vector_norm(difference, ord=self.order, dim=(1, 2))  # (N,)
            losses.append(lengths.mean() / difference.shape[-1] ** (2 / self.order))
        return torch.stack(losses).sum()


def affinity_difference(student: Tensor, teacher: Tensor) -> Tensor:
    """A_S - A_T of each image: maps (N, C, H, W) and (N, C', H, W) -> (N, H*W, H*W)."""
    unit, shown = unit_positions(student), unit_positions(teacher)  # (N, C, P), (N, C', P)
    return unit.mT @ unit - shown.mT @ shown


PLUGIN = FeatureAffinity
