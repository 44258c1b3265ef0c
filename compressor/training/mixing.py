"""Images that are mixed from two: what an augmentation returns when the right answer changes with the pixels.

    mixed = augmentation(pixels, generator)                     # a PixelMixing, after all other augmentations
    with augmentation.mixing(model, layers, pixels, generator) as mixed:    # a FeatureMixing; one forward pass inside
        scores = model(prepare(mixed.pixels))
    loss = cross_entropy(scores, mixed.targets(labels, n_classes))

There is one representation, `Mixed`. Cross-entropy with `targets` is, image by image, share * loss(labels) +
(1 - share) * loss(labels[partner]), with one call of the loss, with label smoothing too. A teacher needs no targets: it
sees the mixed pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Mixed:
    """A batch whose image i holds a share of itself and, for the rest, its partner in the same batch."""

    pixels: Tensor  # (N, C, H, W) as stored
    partner: Tensor  # (N,) int64, a permutation, on the pixels' device
    share: Tensor  # (N,) float32 from 0 to 1, of the image itself; same device

    def targets(self, labels: Tensor, n_classes: int) -> Tensor:
        """Probability of each class that is right for the mixture: labels (N,) int64 -> (N, n_classes) float32.

        >>> mixed = Mixed(torch.zeros(2, 1, 1, 1), torch.tensor([1, 0]), torch.tensor([0.75, 1.0]))
        >>> mixed.targets(torch.tensor([0, 2]), 3).tolist()
        [[0.75, 0.0, 0.25], [0.0, 0.0, 1.0]]
        """
        right = functional.one_hot(labels, n_classes).to(self.share.dtype)  # (N, K)
        share = self.share[:, None]
        return share * right + (1 - share) * right[self.partner]


class PixelMixing(Protocol):
    """Mixes images of a batch as tensors; a frozen dataclass whose fields are its options."""

    summary: ClassVar[str]  # one line
    paper: ClassVar[str]  # authors, venue, year, arXiv
    use_when: ClassVar[str]  # who should take this one
    needs: ClassVar[frozenset[str]]  # of "labels", "features"

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Mixed:
        """(N, C, H, W) as stored -> the same shape and type. `generator` is on the CPU and is all the randomness."""


class FeatureMixing(Protocol):
    """Mixes images of a batch inside the network; a frozen dataclass whose fields are its options."""

    summary: ClassVar[str]
    paper: ClassVar[str]
    use_when: ClassVar[str]
    needs: ClassVar[frozenset[str]]

    def mixing(
        self, model: nn.Module, layers: Sequence[str], pixels: Tensor, generator: torch.Generator
    ) -> AbstractContextManager[Mixed]:
        """While this is open, one forward pass of `model` on the mixed pixels; the model is as before afterwards.

        Args:
            model: what is trained.
            layers: where it may mix, such as `compressor.training.features.stage_layers`.
            pixels: (N, C, H, W) as stored.
            generator: on the CPU; all the randomness.
        """
