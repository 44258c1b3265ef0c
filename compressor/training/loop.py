"""The one training loop, on Hugging Face Accelerate.

Nothing random is carried from step to step: orders, augmentations and dropout are drawn from seeds made of the run's
seed and the step. A checkpoint is therefore weights, momentum and the step number, and a run that was killed and then
continued ends with the same weights as one that was not: bit for bit on a CPU with the same number of threads.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from compressor.core.errors import ContractViolation, DataError, UnsupportedModel
from compressor.core.progress import Progress, SilentProgress
from compressor.data.dataset import ImageDataset
from compressor.data.loader import batch_loader, unpack
from compressor.training.checkpoint import Position, fingerprint, read_checkpoint, save_checkpoint
from compressor.training.forward import borrowed, class_scores, fastest_layout, try_scores
from compressor.training.processes import joined, restore_everywhere, same_everywhere
from compressor.training.protocols import Augmentation, Loss
from compressor.training.recipe import Recipe
from compressor.training.schedule import EpochBatches, learning_rate, seed_of
from compressor.training.tally import Tally

OWNER = "training"


def train(
    model: nn.Module,
    dataset: ImageDataset,
    recipe: Recipe,
    losses: Sequence[tuple[float, Loss]],
    *,
    teacher: nn.Module | None = None,
    augmentations: Sequence[Augmentation] = (),
    device: str = "cpu",
    checkpoints: Path | None = None,
    progress: Progress | None = None,
    title: str = "training",
) -> Position:
    """Trains `model` in place and returns what was measured on the way.

    Each layer is back in its mode, and the model on its device, at the end. In several processes every one returns the
    same; only the main one writes checkpoints and reports progress.

    Args:
        losses: (weight, loss) pairs; their weighted sum is minimised.
        teacher: the model whose scores a loss with `needs` "teacher" learns from; not changed.
        augmentations: applied in order to the stored pixels of each batch.
        device: "cpu", "cuda", "cuda:1", "mps".
        checkpoints: a folder to save to after each epoch and every few minutes, and to go on from; None: neither.

    Raises:
        DataError: no labels where a loss needs them, labels outside the outputs, images that the model does not accept,
            or fewer images than processes.
        InvalidOption: no gradient can flow, or the loss became infinite.
        UnsupportedModel: the model is no classifier, or has other classes than the teacher.
        OutputError: a checkpoint cannot be written.
    """
    needs = frozenset().union(*(loss.needs for _, loss in losses))
    if "labels" in needs:
        dataset.require_labels(title)
    if "teacher" in needs and teacher is None:
        raise ContractViolation(f"{title}: a loss needs a teacher, but none was given.")
    if teacher is model:
        raise ContractViolation(f"{title}: the teacher must be another module than the one that is trained.")
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise UnsupportedModel(f"{title}: the model has no parameter that may change. Set requires_grad on some.")
    guides = [teacher] if teacher is not None and "teacher" in needs else []

    accelerator = joined(device)
    listener = (progress or SilentProgress()) if accelerator.is_main_process else SilentProgress()
    with ExitStack() as stack:
        for module in (model, *guides):
            stack.enter_context(borrowed(module, accelerator.device))
        devices = [torch.cuda.current_device()] if accelerator.device.type == "cuda" else []
        stack.enter_context(torch.random.fork_rng(devices))
        layout = _meet_the_data([model, *guides], dataset, accelerator.device, title, "labels" in needs)
        what = (asdict(recipe), losses, augmentations, len(dataset), dataset.n_classes, dataset.preprocessing)
        mark = fingerprint(repr(what), model, *guides)
        run = _Run(model, guides, dataset, recipe, losses, augmentations, accelerator, layout)
        run.restore(checkpoints, mark, listener)
        stack.callback(model.zero_grad)
        run.go(checkpoints, mark, listener, title)
        same_everywhere(model)
    return run.position


def _meet_the_data(
    models: Sequence[nn.Module], dataset: ImageDataset, device: torch.device, title: str, labels: bool
) -> torch.memory_format:
    """One forward pass of each model on two images: complains of what does not fit, finds the memory layout."""
    pixels, _ = dataset.batch([0, len(dataset) - 1])
    inputs = dataset.prepare(pixels.to(device))
    widths = [try_scores(model, inputs, title, dataset.name).shape[1] for model in models]
    if len(set(widths)) > 1:
        raise UnsupportedModel(
            f"{title}: model and teacher must have the same classes, but have {widths[0]} and {widths[1]}."
        )
    if labels:
        dataset.require_outputs(title, widths[0])
    return fastest_layout(models, inputs)


class _Run:
    """The parts of one training run, and how far it has come."""

    def __init__(
        self,
        model: nn.Module,
        guides: Sequence[nn.Module],
        dataset: ImageDataset,
        recipe: Recipe,
        losses: Sequence[tuple[float, Loss]],
        augmentations: Sequence[Augmentation],
        accelerator: Accelerator,
        layout: torch.memory_format,
    ) -> None:
        self.model, self.guides, self.dataset, self.recipe = model, guides, dataset, recipe
        self.losses, self.augmentations, self.accelerator, self.layout = losses, augmentations, accelerator, layout
        self.position = Position()
        n_processes = accelerator.num_processes
        batch_size = min(recipe.batch_size, len(dataset)) // n_processes * n_processes
        if batch_size < 2 * n_processes:  # batch norm needs two
            raise DataError(
                f"{dataset.name}: {len(dataset)} images in batches of {recipe.batch_size} must give {n_processes} "
                "process(es) at least 2 images a step each, but do not. Give more images or start fewer processes."
            )
        self.order = EpochBatches(len(dataset), batch_size, recipe.seed)
        self.optimizer = _sgd(model, recipe)

    def restore(self, checkpoints: Path | None, mark: str, listener: Progress) -> None:
        """Goes on from a checkpoint of this very run, if there is one."""
        saved = None
        if checkpoints is not None and self.accelerator.is_main_process:
            found = read_checkpoint(checkpoints, mark)
            if isinstance(found, str):
                if found:
                    listener.note(found)
            else:
                saved = found
        self.position = restore_everywhere(saved, self.model, self.optimizer)
        if self.position.step:
            listener.note(
                f"{self.position.step} of {self._n_steps} training steps are done already; going on from there."
            )

    def go(self, checkpoints: Path | None, mark: str, listener: Progress, title: str) -> None:
        """All steps that are still to do."""
        position, order = self.position, self.order
        remaining = self._n_steps - position.step
        if not remaining:
            return
        wrapped, optimizer, loader = self.accelerator.prepare(
            self.model, self.optimizer, batch_loader(self.dataset, order)
        )
        self.model.train()
        saved_at = time.monotonic()

        def save() -> None:
            nonlocal saved_at
            saved_at = time.monotonic()
            if checkpoints is not None and self.accelerator.is_main_process:
                save_checkpoint(checkpoints, mark, position, self.model, self.optimizer)

        with listener.step(title, remaining) as step:
            while position.step < self._n_steps:
                order.epoch, order.first = divmod(position.step, order.n_per_epoch)
                tally = Tally(position, self.recipe, order.n_per_epoch, self.dataset.labelled, self.accelerator, step)
                for item in loader:
                    pixels, labels = unpack(item)
                    results = self._step(wrapped, optimizer, pixels, labels)
                    position.step += 1
                    tally.add(*results, len(labels))
                    # Only where all processes have just fetched: the main one alone looks at the clock.
                    if not tally.waiting and time.monotonic() - saved_at >= 60 * self.recipe.checkpoint_minutes:
                        save()
                tally.close_epoch()
                save()

    def _step(
        self, wrapped: nn.Module, optimizer: torch.optim.Optimizer, pixels: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One update; (loss, number of right answers), both on the device."""
        number, rank = self.position.step, self.accelerator.process_index
        rate = learning_rate(number, self._n_steps, self.recipe.lr, self.recipe.warmup)
        generator = torch.Generator().manual_seed(seed_of(self.recipe.seed, "augment", number, rank))
        torch.manual_seed(seed_of(self.recipe.seed, "model", number, rank))  # dropout and the like
        for augmentation in self.augmentations:
            pixels = augmentation(pixels, generator)
        inputs = self.dataset.prepare(pixels).contiguous(memory_format=self.layout)
        guidance = None
        with torch.no_grad():
            for teacher in self.guides:
                guidance = class_scores(teacher(inputs), OWNER)  # (N, K)
        scores = class_scores(wrapped(inputs), OWNER)  # (N, K)
        loss = torch.stack([weight * one(scores, labels, guidance) for weight, one in self.losses]).sum()
        optimizer.zero_grad()
        self.accelerator.backward(loss)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        return loss.detach(), (scores.detach().argmax(1) == labels).sum()

    @property
    def _n_steps(self) -> int:
        return self.recipe.epochs * self.order.n_per_epoch


def _sgd(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
    )
