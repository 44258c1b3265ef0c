"""The one dataset type that everything downstream reads, whatever the images came from.

Training asks for whole batches of pixels as they are stored (usually 8-bit) and normalises them on the model's device:
no Python work per image. Indexing with a number gives what PyTorch datasets give, one (image, label).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from compressor.core.errors import DataError
from compressor.data.preprocessing import Preprocessing

UNLABELLED = -1


class Pixels(Protocol):
    """Where the images are: in memory, or in files that are decoded when asked for."""

    in_memory: bool

    def __len__(self) -> int: ...

    def batch(self, indices: Sequence[int]) -> Tensor:
        """(N, C, H, W) as stored: uint8 pixels, or float32."""


class MemoryPixels:
    """All images as one tensor, axis 0 the image."""

    in_memory = True

    def __init__(self, stored: Tensor) -> None:
        self._stored = stored

    def __len__(self) -> int:
        return len(self._stored)

    def batch(self, indices: Sequence[int]) -> Tensor:
        """(N, ...) in the order of `indices`."""
        return self._stored[torch.as_tensor(indices, dtype=torch.int64)]


class SomePixels:
    """Some of the images of another, in the order of `indices`; nothing is copied."""

    def __init__(self, whole: Pixels, indices: Tensor) -> None:
        self._whole, self._indices = whole, indices  # (N,) int64
        self.in_memory = whole.in_memory

    def __len__(self) -> int:
        return len(self._indices)

    def batch(self, indices: Sequence[int]) -> Tensor:
        """(N, ...) in the order of `indices`."""
        return self._whole.batch(self._indices[torch.as_tensor(indices, dtype=torch.int64)].tolist())


class ImageDataset(Dataset[tuple[Tensor, int]]):
    """Images with or without labels.

    Attributes:
        name: where it came from, for sentences.
        labelled: whether there are labels at all; without them every label is -1.
        n_classes: how many there are by the class names, else by the largest label; 0 if unlabelled.
        class_names: in the order of the labels; empty if unknown.
        preprocessing: mean, std and size; None where the caller gave inputs that are ready for the model.
        notes: what people should know: images resized, an order of classes that may surprise.
    """

    def __init__(
        self,
        pixels: Pixels,
        labels: Tensor | None,
        *,
        name: str,
        class_names: Sequence[str] = (),
        preprocessing: Preprocessing | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self._pixels = pixels
        self.labelled = labels is not None
        self._labels = labels if labels is not None else torch.full((len(pixels),), UNLABELLED)  # (N,) int64
        self.name = name
        self.class_names = tuple(class_names) if self.labelled else ()
        self.preprocessing = preprocessing
        self.notes = tuple(notes)
        if len(self._labels) != len(pixels):
            raise DataError(f"{name}: must hold one label an image, but it has {len(self._labels)} for {len(pixels)}.")
        largest = int(self._labels.max())
        self.n_classes = (len(self.class_names) or largest + 1) if self.labelled else 0
        if self.labelled and (int(self._labels.min()) < 0 or largest >= self.n_classes):
            wrong = int(self._labels.min()) if int(self._labels.min()) < 0 else largest
            raise DataError(
                f"{name}: labels must be 0 to {self.n_classes - 1}, but {wrong} is among them. "
                "Correct the labels, or remove those images."
            )

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """(float32 tensor (C, H, W) ready for the model, label); the label is -1 if there are none."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.name}: index {index} is outside its {len(self)} images")
        pixels, labels = self.batch([index % len(self)])
        return self.prepare(pixels)[0], int(labels[0])

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(pixels (N, C, H, W) as stored, labels (N,) int64) for these images; `prepare` makes model inputs of it."""
        return self._pixels.batch(indices), self._labels[torch.as_tensor(indices, dtype=torch.int64)]

    def prepare(self, pixels: Tensor) -> Tensor:
        """Stored pixels (N, C, H, W) -> float32 inputs of the same shape, on the device that they are on."""
        return pixels if self.preprocessing is None else self.preprocessing.apply(pixels)

    @property
    def labels(self) -> Tensor:
        """(N,) int64; all -1 if there are none."""
        return self._labels

    def part(self, indices: Tensor, notes: Sequence[str] = ()) -> ImageDataset:
        """A dataset of these images (N,) alone, with the same classes."""
        part = ImageDataset(
            SomePixels(self._pixels, indices),
            self._labels[indices] if self.labelled else None,
            name=self.name,
            class_names=self.class_names,
            preprocessing=self.preprocessing,
            notes=notes,
        )
        part.n_classes = self.n_classes
        return part

    def relabelled(self, labels: Tensor) -> ImageDataset:
        """The same images with other labels (N,) int64."""
        return ImageDataset(self._pixels, labels, name=self.name, preprocessing=self.preprocessing)

    @property
    def in_memory(self) -> bool:
        """Whether a batch costs no decoding."""
        return self._pixels.in_memory

    def require_labels(self, owner: str) -> None:
        """Raises DataError if there are no labels; `owner` is who needs them."""
        if not self.labelled:
            raise DataError(
                f"{owner}: needs labels, but {self.name} has none. "
                "Give a folder with one sub-folder a class, a parquet with a `label` column, or an npz with `labels`."
            )

    def require_outputs(self, owner: str, n_outputs: int) -> None:
        """Raises DataError if a label is no index into the model's `n_outputs` class scores."""
        largest = int(self._labels.max())
        if self.labelled and largest >= n_outputs:
            raise DataError(
                f"{owner}: labels must be below the model's {n_outputs} outputs, but {self.name} has label {largest}. "
                "Give the data that this model was trained for."
            )
