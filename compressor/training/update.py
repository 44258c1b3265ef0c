"""One update of the weights: forward passes, losses, gradients, and the hooks around the optimizer's step."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from compressor.data.dataset import ImageDataset
from compressor.training.features import FeatureLoss, Recording, recording
from compressor.training.forward import class_scores
from compressor.training.hooks import Hook, Moment
from compressor.training.mixing import FeatureMixing, Mixed, PixelMixing
from compressor.training.protocols import Augmentation, Loss
from compressor.training.recipe import Recipe
from compressor.training.schedule import seed_of

OWNER = "training"


@dataclass(frozen=True)
class Objective:
    """What a run minimises, and on which variations of the images."""

    losses: Sequence[tuple[float, Loss]]
    feature_losses: Sequence[tuple[float, FeatureLoss]] = ()
    augmentations: Sequence[Augmentation] = ()  # in order
    mixing: PixelMixing | FeatureMixing | None = None  # after them

    @property
    def needs(self) -> frozenset[str]:
        """Of "labels", "teacher", "features"."""
        needs = [loss.needs for _, loss in self.losses] + [loss.needs for _, loss in self.feature_losses]
        needs += [self.mixing.needs] if self.mixing is not None else []
        return frozenset[str]().union(*needs)

    @property
    def mixes_inside(self) -> bool:
        """Whether images are mixed in the model's feature maps."""
        return self.mixing is not None and not callable(self.mixing)


class Update:
    """The parts of a run that every update uses."""

    def __init__(
        self,
        model: nn.Module,
        teacher: nn.Module | None,
        dataset: ImageDataset,
        recipe: Recipe,
        objective: Objective,
        hooks: Sequence[Hook],
        layers: Sequence[str],
        layout: torch.memory_format,
        accelerator: Accelerator,
    ) -> None:
        """
        Args:
            model: as the user knows it; `step` is given what wraps it.
            layers: whose maps feature losses compare, and where feature mixing mixes.
        """
        self.teacher = teacher  # may be replaced by what computes the same
        self._model, self._dataset, self._recipe = model, dataset, recipe
        self._objective, self._hooks, self._layers, self._layout = objective, hooks, layers, layout
        self._accelerator = accelerator

    def step(
        self,
        wrapped: nn.Module,
        optimizer: torch.optim.Optimizer,
        pixels: Tensor,
        labels: Tensor,
        moment: Moment,
    ) -> tuple[Tensor, Tensor]:
        """Returns the loss and the number of right answers, both on the device."""
        generator = self._seeded(moment)
        for augmentation in self._objective.augmentations:
            pixels = augmentation(pixels, generator)
        for group in optimizer.param_groups:
            group["lr"] = moment.lr
        optimizer.zero_grad()
        total, n_correct = self._gradients(wrapped, pixels, labels, moment, generator)
        for hook in self._hooks:
            hook.before_step(moment)
        if self._recipe.clip_norm:
            self._accelerator.clip_grad_norm_(self._model.parameters(), self._recipe.clip_norm)
        optimizer.step()
        for hook in self._hooks:
            hook.after_step(moment)
        return total, n_correct

    def _seeded(self, moment: Moment) -> torch.Generator:
        """Nothing random is carried from one update to the next."""
        seed, rank = self._recipe.seed, self._accelerator.process_index
        torch.manual_seed(seed_of(seed, "model", moment.step, rank))  # dropout and the like
        return torch.Generator().manual_seed(seed_of(seed, "augment", moment.step, rank))

    def _gradients(
        self, wrapped: nn.Module, pixels: Tensor, labels: Tensor, moment: Moment, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Adds up the gradients of all parts of the batch; the hooks' penalties count once."""
        parts = list(zip(pixels.chunk(self._recipe.accumulate), labels.chunk(self._recipe.accumulate), strict=True))
        losses, n_correct = [], []
        for number, (some, their_labels) in enumerate(parts):
            last = number == len(parts) - 1
            # Processes exchange gradients once, with the last part.
            with nullcontext() if last else self._accelerator.no_sync(wrapped):
                loss, right = self._loss(wrapped, some, their_labels, moment, generator)
                loss = loss * (len(some) / len(pixels))
                penalties = [hook.penalty(moment) for hook in self._hooks] if last else []
                penalised = torch.stack([loss, *(penalty for penalty in penalties if penalty is not None)]).sum()
                self._accelerator.backward(penalised)
            losses.append(penalised.detach())
            n_correct.append(right)
        return torch.stack(losses).sum(), torch.stack(n_correct).sum()

    def _loss(
        self, wrapped: nn.Module, pixels: Tensor, labels: Tensor, moment: Moment, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """The weighted sum of the losses on some images, and how many of them were right."""
        objective = self._objective
        with ExitStack() as stack:
            mixed = self._mixed(pixels, generator, stack)
            inputs = self.inputs(pixels if mixed is None else mixed.pixels)
            shown, guidance = self._guidance(inputs, stack)
            seen = self._recorded(self._model, stack)
            with self.autocast():
                scores = class_scores(wrapped(inputs), OWNER)  # (N, K)
            scores = scores.float()
            right = labels if mixed is None or not self._dataset.labelled else mixed.targets(labels, scores.shape[1])
            found = [weight * loss(scores, right, guidance) for weight, loss in objective.losses]
            if seen is not None and shown is not None:
                # Processes compare the same random directions.
                shared = torch.Generator().manual_seed(seed_of(self._recipe.seed, "features", moment.step))
                maps = seen.take(), shown.take()
                found += [weight * loss(*maps, shared) for weight, loss in objective.feature_losses]
            loss = torch.stack(found).sum()
        return loss, (scores.detach().argmax(1) == labels).sum()

    def _mixed(self, pixels: Tensor, generator: torch.Generator, stack: ExitStack) -> Mixed | None:
        mixing = self._objective.mixing
        if mixing is None:
            return None
        if callable(mixing):
            return mixing(pixels, generator)
        return stack.enter_context(mixing.mixing(self._model, self._layers, pixels, generator))

    def _guidance(self, inputs: Tensor, stack: ExitStack) -> tuple[Recording | None, Tensor | None]:
        """The teacher's maps and scores, without gradient."""
        if self.teacher is None:
            return None, None
        shown = self._recorded(self.teacher, stack)
        with torch.no_grad(), self.autocast():
            return shown, class_scores(self.teacher(inputs), OWNER).float()

    def _recorded(self, model: nn.Module, stack: ExitStack) -> Recording | None:
        return stack.enter_context(recording(model, self._layers)) if self._objective.feature_losses else None

    @property
    def hooks_into_layers(self) -> bool:
        """Whether passes are watched, or changed, on their way."""
        return bool(self._layers)

    def some_inputs(self, n_images: int) -> Tensor:
        """What the model takes, of the first images of the data, on its device."""
        pixels, _ = self._dataset.batch(range(n_images))
        return self.inputs(pixels.to(self._accelerator.device))

    def inputs(self, pixels: Tensor) -> Tensor:
        """Stored pixels (N, C, H, W) -> what the model takes."""
        return self._dataset.prepare(pixels).contiguous(memory_format=self._layout)

    def autocast(self) -> torch.autocast | nullcontext[None]:
        """What forward passes run in."""
        if self._recipe.precision == "float32":
            return nullcontext()
        return torch.autocast(self._accelerator.device.type, torch.bfloat16)
