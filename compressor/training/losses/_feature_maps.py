"""Pairs of feature maps, as losses compare them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from compressor.core.errors import ContractViolation

SHORTEST = 1e-5  # channel vectors below this length are not stretched to 1


def paired(
    owner: str, student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Each student's map with its teacher's, in single precision at least.

    The teacher's is brought to the student's height and width, bilinearly with corners on corners, and has no gradient.

    Raises:
        ContractViolation: not as many maps of both, none at all, or a pair that is not of the same images.
    """
    if not student_maps or len(student_maps) != len(teacher_maps):
        raise ContractViolation(
            f"{owner}: there must be as many maps of student and teacher, and at least one, "
            f"but there are {len(student_maps)} and {len(teacher_maps)}."
        )
    for student, teacher in zip(student_maps, teacher_maps, strict=True):
        if student.ndim != 4 or teacher.ndim != 4 or len(student) != len(teacher):
            raise ContractViolation(
                f"{owner}: maps must be (N, C, H, W) of the same images, "
                f"but are {tuple(student.shape)} and {tuple(teacher.shape)}."
            )
        shown = _precise(teacher.detach())
        if shown.shape[-2:] != student.shape[-2:]:
            size = list(student.shape[-2:])
            shown = functional.interpolate(shown, size=size, mode="bilinear", align_corners=True)
        yield _precise(student), shown


def unit_positions(maps: Tensor) -> Tensor:
    """The channel vector of each position, of length 1; zeros stay zeros: (N, C, H, W) -> (N, C, H*W)."""
    return functional.normalize(maps.flatten(2), dim=1, eps=SHORTEST)


def _precise(maps: Tensor) -> Tensor:
    return maps.to(torch.promote_types(maps.dtype, torch.float32))
