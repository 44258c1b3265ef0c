"""What a model answers to images, and how often that is right."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compressor.core.progress import Progress, SilentProgress
from compressor.data.dataset import ImageDataset
from compressor.data.loader import batch_loader, batches_of
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

    Where several processes were started (torchrun, accelerate launch), each that calls this measures alone, on all
    images: nobody waits for another.

    Raises:
        DataError: no labels, a label outside the model's outputs, images that the model does not accept.
        UnsupportedModel: the model is no classifier.
    """
    dataset.require_labels(OWNER)
    answers = predict(model, dataset, device, progress, batch_size=batch_size, title=title)
    return 100.0 * int((answers == dataset.labels).sum()) / len(dataset), len(dataset)


def predict(
    model: nn.Module,
    dataset: ImageDataset,
    device: str = "cpu",
    progress: Progress | None = None,
    *,
    batch_size: int = 250,
    title: str = "predicting",
) -> Tensor:
    """(N,) int64 on the CPU: the class with the highest score, of each image. The model is left as it was found.

    Raises:
        DataError: a label outside the model's outputs, images that the model does not accept.
        UnsupportedModel: the model is no classifier.
    """
    indices = list(range(len(dataset)))
    batches = [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]
    answers: list[Tensor] = []
    listener = progress or SilentProgress()
    with borrowed(model, device), torch.no_grad(), listener.step(title, len(dataset)) as step:
        first = dataset.prepare(dataset.batch([0])[0].to(device))
        dataset.require_outputs(OWNER, try_scores(model, first, OWNER, dataset.name).shape[1])
        for pixels, _ in batches_of(batch_loader(dataset, batches)):
            scores = class_scores(model(dataset.prepare(pixels.to(device))), OWNER)  # (N, K)
            answers.append(scores.argmax(1))
            step.advance(len(scores))
    return torch.cat(answers).cpu()
