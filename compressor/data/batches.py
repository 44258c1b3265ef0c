"""Data that is given from Python instead of from a file, and the batches that calibration reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compressor.core.errors import DataError
from compressor.data.dataset import ImageDataset, MemoryPixels


def from_batches(batches: Tensor | Iterable[Any], *, name: str = "batches") -> ImageDataset:
    """Wraps inputs that are ready for the model: they are neither normalised nor augmented.

    Args:
        batches: one tensor (N, ...), or an iterable of tensors (n, ...) and of pairs (inputs (n, ...), labels (n,)
            integers): either all with labels or all without. It is read once, to its end, into memory.
        name: what errors call it.

    Raises:
        DataError: nothing in it, an item of another kind, shapes that differ, labels that do not fit.
    """
    items = [batches] if isinstance(batches, Tensor) else list(batches)
    pairs = [_inputs_and_labels(item, name) for item in items]
    if not pairs or not any(len(inputs) for inputs, _ in pairs):
        raise DataError(f"{name}: must hold at least one batch, but it is empty. Give a list, not a used-up iterator.")
    shapes = sorted({tuple(inputs.shape[1:]) for inputs, _ in pairs})
    if len(shapes) > 1:
        raise DataError(f"{name}: all inputs must have one shape, but there are {shapes[0]} and {shapes[1]}.")
    with_labels = [labels for _, labels in pairs if labels is not None]
    if len(with_labels) not in (0, len(pairs)):
        raise DataError(
            f"{name}: either all batches or none must have labels, but {len(with_labels)} of {len(pairs)} do."
        )
    labels = torch.cat(with_labels).to(torch.int64) if with_labels else None
    return ImageDataset(MemoryPixels(torch.cat([inputs for inputs, _ in pairs])), labels, name=name)


@dataclass(frozen=True)
class CalibrationBatches:
    """Up to `n_images` images in an order drawn from `seed`, normalised; may be read more than once.

    Yields (inputs (n, C, H, W) float32 on `device`, labels (n,) int64, -1 if there are none).
    """

    dataset: ImageDataset
    n_images: int = 2048
    batch_size: int = 64
    seed: int = 0
    device: str = "cpu"

    def __len__(self) -> int:
        return -(-min(self.n_images, len(self.dataset)) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(self.dataset), generator=generator)[: self.n_images]
        for indices in order.split(self.batch_size):
            pixels, labels = self.dataset.batch(indices.tolist())
            yield self.dataset.prepare(pixels.to(self.device)), labels.to(self.device)


def _inputs_and_labels(item: Any, name: str) -> tuple[Tensor, Tensor | None]:
    if isinstance(item, Tensor):
        return item.detach().cpu(), None
    if isinstance(item, tuple | list) and len(item) == 2 and all(isinstance(part, Tensor) for part in item):
        inputs, labels = item
        if labels.ndim == 1 and len(labels) == len(inputs) and not labels.is_floating_point():
            return inputs.detach().cpu(), labels.detach().cpu()
        raise DataError(
            f"{name}: labels must be one whole number an input, but are {labels.dtype} of shape {tuple(labels.shape)} "
            f"for inputs of shape {tuple(inputs.shape)}."
        )
    raise DataError(f"{name}: an item must be a tensor or a pair (inputs, labels), but got {type(item).__name__}.")
