"""What plugs into the training loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol

import torch
from torch import Tensor


class Loss(Protocol):
    """What is minimised; a frozen dataclass whose fields are its options."""

    needs: ClassVar[frozenset[str]]  # of "labels", "teacher"

    def __call__(self, scores: Tensor, labels: Tensor, teacher_scores: Tensor | None) -> Tensor:
        """Scalar, a mean over the batch.

        Args:
            scores: (N, K) float, before the softmax.
            labels: (N,) int64; -1 where there is none.
            teacher_scores: (N, K) float without gradient, for losses that need a teacher.
        """


class Augmentation(Protocol):
    """Varies a batch of training images as tensors, without work per image; a frozen dataclass."""

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """(N, C, H, W) as stored -> the same shape and type. `generator` is on the CPU and is all the randomness."""


class Tracker(Protocol):
    """Keeps the curves of a run's trainings; made with the folder that it may write to."""

    summary: ClassVar[str]  # one line

    @property
    def hint(self) -> str:
        """How people look at the curves."""

    def log(self, title: str, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one step, from 1, of the training of this title."""

    def close(self, finished: bool) -> None:
        """Nothing more will come; not `finished` where the run failed or was interrupted, and may go on later."""
