"""Accuracy on labelled images."""

from __future__ import annotations

import torch
from torch import distributed, nn

from compressor.core.progress import Progress, SilentProgress
from compressor.data.dataset import ImageDataset
from compressor.data.loader import batch_loader, unpack
from compressor.training.forward import borrowed, class_scores, try_scores

OWNER = "evaluation"


def evaluate(
    model: nn.Module,
    dataset: ImageDataset,
    device: str = "cpu",
    progress: Progress | None = None,
    *,
    batch_size: int = 250,
    title: str = "measuring accuracy",
) -> tuple[float, int]:
    """(top-1 accuracy in percent, number of images). The model is left as it was found.

    Where several processes were started (torchrun, accelerate launch) and have joined, each takes a part of the images
    and all return the same figures.

    Raises:
        DataError: no labels, a label outside the model's outputs, images that the model does not accept.
        UnsupportedModel: the model is no classifier.
    """
    dataset.require_labels(OWNER)
    rank, n_processes = 0, 1
    if distributed.is_available() and distributed.is_initialized():
        rank, n_processes = distributed.get_rank(), distributed.get_world_size()
    mine = list(range(rank, len(dataset), n_processes))
    batches = [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]
    correct = torch.zeros((), dtype=torch.int64, device=device)
    listener = (progress or SilentProgress()) if rank == 0 else SilentProgress()
    with borrowed(model, device), torch.no_grad(), listener.step(title, len(mine)) as step:
        first = dataset.prepare(dataset.batch([0])[0].to(device))
        dataset.require_outputs(OWNER, try_scores(model, first, OWNER, dataset.name).shape[1])
        for item in batch_loader(dataset, batches):
            pixels, labels = unpack(item)
            scores = class_scores(model(dataset.prepare(pixels.to(device))), OWNER)  # (N, K)
            correct += (scores.argmax(1) == labels.to(device)).sum()
            step.advance(len(labels))
    if n_processes > 1:
        distributed.all_reduce(correct)
    return 100.0 * int(correct) / len(dataset), len(dataset)
