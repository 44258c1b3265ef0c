"""Attention transfer: where in an image the teacher is active, the student shall be active."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from compressor.training.losses._feature_maps import paired


@dataclass(frozen=True)
class AttentionTransfer:
    """Distance of two maps of activity, each the sum of squares over the channels; needs no labels.

    Paper: Sergey Zagoruyko, Nikos Komodakis, "Paying More Attention to Attention: Improving the Performance of
        Convolutional Neural Networks via Attention Transfer", ICLR 2017, arXiv:1612.03928, section 3.1.

    Equations:
        F(A) = sum over c of |A_c|^2                                          -> `attention`
        (2), without beta/2: sum over j of || Q_S/||Q_S||_2 - Q_T/||Q_T||_2 ||_2, Q = vec(F(A_j))   -> `__call__`

    Notation:
        A: feature map of one image at layer j, (C, H, W); A_c: its channel c.
        Q: attention, (H*W,); S: student, T: teacher, brought to the student's H and W.

    Options:
        squared (bool, default False): each distance is squared, as in the authors' program and most others. Then it
            pulls less the nearer the student is.

    Returns:
        Scalar: mean over the images, sum over the layers. At most sqrt(2) a layer (2 if squared), for attention is
        never negative; 0 where the attentions are multiples of each other.

    Deviations:
        - The sum of squares only, of the maps that the paper tries; not its gradient-based attention.
        - Mean over the images, so that the coefficient does not depend on the batch size; the paper's equation is of
          one image. The program also divides by H*W: with `squared`, its coefficient of 1000 is 1000 / (H W) here.
        - A map of zeros has attention 0 everywhere.
        - beta/2 is the caller's, who sums weighted losses.

    Raises:
        ContractViolation: maps that do not pair.

    Complexity: O(N C H W) a layer.

    Example:
        Two positions. The student's single channel shows 1 and 0, the teacher's two channels (1, 1) and (1, 1):
        attentions (1, 0) and (2, 2), of length 1: (1, 0) and (0.7071, 0.7071). Their distance is 0.7654.

        >>> student = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2)
        >>> teacher = torch.ones(1, 2, 1, 2)
        >>> round(float(AttentionTransfer()([student], [teacher], torch.Generator())), 4)
        0.7654
    """

    summary: ClassVar[str] = "where in an image the layers are active, student against teacher"
    paper: ClassVar[str] = "Zagoruyko, Komodakis, Attention Transfer, ICLR 2017, arXiv:1612.03928"
    use_when: ClassVar[str] = "there is a teacher, and something cheap beside distillation of the scores is wanted"
    needs: ClassVar[frozenset[str]] = frozenset({"teacher", "features"})

    squared: bool = False

    def __call__(
        self, student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor], generator: torch.Generator
    ) -> Tensor:
        """Scalar from maps (N, C, H, W) of each layer; nothing is drawn from the generator."""
        losses = []
        for student, teacher in paired("attention_transfer", student_maps, teacher_maps):
            distances = torch.linalg.vector_norm(attention(student) - attention(teacher), dim=1)  # (N,)
            losses.append((distances.square() if self.squared else distances).mean())
        return torch.stack(losses).sum()


def attention(maps: Tensor) -> Tensor:
    """Sum of squares over the channels, of length 1 for each image: (N, C, H, W) -> (N, H*W)."""
    return functional.normalize(maps.square().sum(1).flatten(1), dim=1)


PLUGIN = AttentionTransfer
