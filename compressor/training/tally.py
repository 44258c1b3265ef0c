"""Losses and right answers of a running epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor

from compressor.core.errors import InvalidOption
from compressor.core.progress import Step
from compressor.training.checkpoint import Position
from compressor.training.hooks import Moment
from compressor.training.recipe import Recipe

_STEPS_PER_FETCH = 10  # from a GPU, which would else have to wait for us at each step
_SPARSITY_S = 2.0  # between two looks at it


class Tally:
    """Collects results on the device, and fetches them now and then: over all processes, into the position.

    All processes fetch at the same steps, which are those after which `waiting` is empty.
    """

    def __init__(
        self,
        position: Position,
        recipe: Recipe,
        n_per_epoch: int,
        labelled: bool,
        accelerator: Accelerator,
        step: Step,
        sparsity: Callable[[], float | None],
    ) -> None:
        self.position, self.recipe, self.n_per_epoch, self.labelled = position, recipe, n_per_epoch, labelled
        self.accelerator, self.step, self.sparsity = accelerator, step, sparsity
        self.steps_per_fetch = 1 if accelerator.device.type == "cpu" else _STEPS_PER_FETCH
        self.waiting: list[tuple[Tensor, Tensor, int, Moment]] = []
        self._sparse_note, self._looked_at = "", -math.inf

    def add(self, loss: Tensor, n_correct: Tensor, n_images: int, moment: Moment) -> None:
        """One step's results, of this process: two scalars on the device, and the number of images."""
        self.waiting.append((loss, n_correct, n_images, moment))
        if len(self.waiting) >= self.steps_per_fetch:
            self.fetch()

    def fetch(self) -> None:
        """Adds what waits to the position, and tells people.

        Raises:
            InvalidOption: the loss is no longer finite.
        """
        if not self.waiting:
            return
        position = self.position
        losses = self.accelerator.reduce(torch.stack([loss for loss, *_ in self.waiting]), reduction="mean")
        correct = self.accelerator.reduce(torch.stack([n for _, n, *_ in self.waiting]), reduction="sum")
        for loss, n_correct, (_, _, n_here, moment) in zip(
            losses.tolist(), correct.tolist(), self.waiting, strict=True
        ):
            if not math.isfinite(loss):
                raise InvalidOption(
                    "training",
                    "lr",
                    "small enough for the loss to stay finite",
                    self.recipe.lr,
                    f"The loss became {loss} at step {moment.step + 1} of {moment.n_steps}, with a learning rate of "
                    f"{moment.lr:.3g}. Try a tenth of it.",
                )
            n_images = n_here * self.accelerator.num_processes
            position.loss_sum += loss * n_images
            position.n_correct += n_correct
            position.n_images += n_images
        epoch = (position.step - 1) // self.n_per_epoch + 1
        note = f"epoch {epoch}/{self.recipe.epochs}, loss {position.loss_sum / position.n_images:.4f}"
        if self.labelled:
            note += f", accuracy {100 * position.n_correct / position.n_images:.1f} %"
        self.step.advance(len(self.waiting), note + self._sparsity())
        self.waiting.clear()

    def _sparsity(self) -> str:
        """Looked up now and then, since it reads all weights."""
        if time.monotonic() - self._looked_at >= _SPARSITY_S:
            self._looked_at = time.monotonic()
            share = self.sparsity()
            self._sparse_note = "" if share is None else f", sparsity {share:.1%}"
        return self._sparse_note

    def close_epoch(self) -> None:
        """Moves the epoch's means to the history."""
        self.fetch()
        position = self.position
        position.losses.append(position.loss_sum / position.n_images)
        if self.labelled:
            position.accuracies_percent.append(100 * position.n_correct / position.n_images)
        position.loss_sum, position.n_correct, position.n_images = 0.0, 0, 0
