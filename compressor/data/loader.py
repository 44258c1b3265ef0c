"""PyTorch data loaders that move whole batches of stored pixels, decoded in worker processes where they must be."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from compressor.core.errors import DataError
from compressor.data.dataset import ImageDataset


def batch_loader(dataset: ImageDataset, batches: Iterable[Sequence[int]]) -> DataLoader[Any]:
    """Loads the batches of indices that `batches` yields, in its order; `batches_of` reads it."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    n_workers = 0 if dataset.in_memory else min(8, usable)
    return DataLoader(
        _Batched(dataset),
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=_as_it_is,
        num_workers=n_workers,
        generator=torch.Generator(),  # else each pass draws from the global random numbers
    )


def batches_of(loader: Iterable[Any]) -> Iterator[tuple[Tensor, Tensor]]:
    """(stored pixels (N, C, H, W), labels (N,)) of each batch of a loader.

    Raises:
        DataError: an image could not be decoded, or a process that decodes images died.
    """
    try:
        for item in loader:
            if isinstance(item, DataError):
                raise item
            pixels, labels = item
            yield pixels, labels
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        reason = str(error).strip().splitlines()[0]
        step = "Give smaller images (--size), or close other programs; the same command goes on."
        raise DataError(f"A process that decodes images died, often for want of memory ({reason}). {step}") from error


class _Batched(Dataset[Any]):
    def __init__(self, dataset: ImageDataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor] | DataError:
        # An error that a worker raises comes back with its traceback as the text; returned, it stays one sentence.
        try:
            return self._dataset.batch(indices)
        except DataError as error:
            return error


def _as_it_is(batch: Any) -> Any:
    return batch
