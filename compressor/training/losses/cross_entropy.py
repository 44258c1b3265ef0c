"""Cross-entropy with labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from compressor.core.errors import InvalidOption


@dataclass(frozen=True)
class CrossEntropy:
    """Mean of -log(probability of the right class).

    Options:
        label_smoothing: share of the target that is spread evenly over all classes; 0 to below 1.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"labels"})

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise InvalidOption("cross_entropy", "label_smoothing", "from 0 to below 1", self.label_smoothing)

    def __call__(self, scores: Tensor, labels: Tensor, teacher_scores: Tensor | None) -> Tensor:
        """Scalar from scores (N, K) and labels (N,); the teacher is not looked at."""
        return functional.cross_entropy(scores, labels, label_smoothing=self.label_smoothing)


PLUGIN = CrossEntropy
