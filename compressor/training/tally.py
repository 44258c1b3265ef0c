"""Losses and right answers of a running epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

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
        measured: Callable[[int, Mapping[str, float]], None],
    ) -> None:
        """
        Args:
            measured: is told the number of the step, from 1, and what was found in it.
        """
        self.position, self.recipe, self.n_per_epoch, self.labelled = position, recipe, n_per_epoch, labelled
        self.accelerator, self.step, self.sparsity, self.measured = accelerator, step, sparsity, measured
        self.steps_per_fetch = 1 if accelerator.device.type == "cpu" else _STEPS_PER_FETCH
        self.waiting: list[tuple[Tensor, Tensor, int, Moment]] = []
        self._sparse: float | None = None
        self._looked_at = -math.inf
        self._fetched_at = time.monotonic()

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
            position.n_trained += n_images
            values = {"loss": loss, "learning_rate": moment.lr}
            if self.labelled:
                values["accuracy_percent"] = 100 * n_correct / n_images
            self.measured(moment.step + 1, values)
        position.seconds += self._seconds_since_fetch()
        self._look_at_sparsity()
        self.step.advance(len(self.waiting), self._note())
        self.waiting.clear()

    def _seconds_since_fetch(self) -> float:
        before, self._fetched_at = self._fetched_at, time.monotonic()
        return self._fetched_at - before

    def _look_at_sparsity(self) -> None:
        """Now and then, since it reads all weights."""
        if time.monotonic() - self._looked_at >= _SPARSITY_S:
            self._looked_at = time.monotonic()
            self._sparse = self.sparsity()
            if self._sparse is not None:
                self.measured(self.position.step, {"sparsity": self._sparse})

    def _note(self) -> str:
        position = self.position
        epoch = (position.step - 1) // self.n_per_epoch + 1
        parts = [f"epoch {epoch}/{self.recipe.epochs}", f"loss {position.loss_sum / position.n_images:.4f}"]
        if self.labelled:
            parts.append(f"accuracy {100 * position.n_correct / position.n_images:.1f} %")
        if self._sparse is not None:
            parts.append(f"sparsity {self._sparse:.1%}")
        return ", ".join([*parts, f"{position.images_per_s:.0f} images/s"])

    def close_epoch(self) -> None:
        """Moves the epoch's means to the history."""
        self.fetch()
        position = self.position
        position.losses.append(position.loss_sum / position.n_images)
        values = {"epoch_loss": position.losses[-1], "images_per_second": position.images_per_s}
        if self.labelled:
            position.accuracies_percent.append(100 * position.n_correct / position.n_images)
            values["epoch_accuracy_percent"] = position.accuracies_percent[-1]
        self.measured(position.step, values)
        position.loss_sum, position.n_correct, position.n_images = 0.0, 0, 0
