"""The one training loop, on Hugging Face Accelerate.

Nothing random is carried from step to step: orders, augmentations and dropout are drawn from seeds made of the run's
seed and the step. A checkpoint is therefore weights, momentum, what the hooks remember and the step number, and a run
that was killed and then continued ends with the same weights as one that was not: bit for bit on a CPU with the same
number of threads.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from compressor.core.errors import ContractViolation, DataError, UnsupportedModel
from compressor.core.progress import Progress, SilentProgress
from compressor.data.dataset import ImageDataset
from compressor.data.loader import batch_loader, batches_of
from compressor.training.averaging import WeightAveraging
from compressor.training.checkpoint import Position, fingerprint, read_checkpoint, save_checkpoint
from compressor.training.features import stage_layers
from compressor.training.forward import borrowed, fastest_layout, try_scores
from compressor.training.hooks import Hook, Moment
from compressor.training.parts import saved_bytes
from compressor.training.processes import joined, restore_everywhere, same_everywhere
from compressor.training.recipe import Recipe
from compressor.training.schedule import EpochBatches, learning_rate
from compressor.training.settling import settle_calls, settle_parts, settle_precision
from compressor.training.tally import Tally
from compressor.training.update import Objective, Update


def train(
    model: nn.Module,
    dataset: ImageDataset,
    recipe: Recipe,
    objective: Objective,
    *,
    teacher: nn.Module | None = None,
    hooks: Sequence[Hook] = (),
    device: str = "cpu",
    checkpoints: Path | None = None,
    progress: Progress | None = None,
    title: str = "training",
) -> Position:
    """Trains `model` in place and returns what was measured on the way.

    Each layer is back in its mode, and the model on its device, at the end. In several processes every one returns the
    same; only the main one writes checkpoints and reports progress.

    Args:
        objective: the weighted sum of its losses is minimised.
        teacher: the model that a loss with `needs` "teacher" learns from; not changed.
        hooks: already attached to `model`, in the order in which they act.
        device: "cpu", "cuda", "cuda:1", "mps".
        checkpoints: a folder to save to after each epoch and every few minutes, and to go on from; None: neither.

    Raises:
        ContractViolation: no teacher where a loss needs one, or one where features are mixed.
        DataError: no labels where a loss needs them, labels outside the outputs, images that the model does not accept,
            or fewer images than processes.
        InvalidOption: no gradient can flow, or the loss became infinite.
        UnsupportedModel: the model is no classifier, or has other classes than the teacher.
        OutputError: a checkpoint cannot be written.
    """
    needs = objective.needs
    if "labels" in needs:
        dataset.require_labels(title)
    if "teacher" in needs and teacher is None:
        raise ContractViolation(f"{title}: a loss needs a teacher, but none was given.")
    if teacher is model:
        raise ContractViolation(f"{title}: the teacher must be another module than the one that is trained.")
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise UnsupportedModel(f"{title}: the model has no parameter that may change. Set requires_grad on some.")
    guide = teacher if "teacher" in needs else None
    if guide is not None and objective.mixes_inside:
        raise ContractViolation(f"{title}: what is mixed inside the model has no counterpart in a teacher.")
    models = [model] if guide is None else [model, guide]

    accelerator = joined(device)
    listener = (progress or SilentProgress()) if accelerator.is_main_process else SilentProgress()
    with ExitStack() as stack:
        for module in models:
            stack.enter_context(borrowed(module, accelerator.device))
        devices = [torch.cuda.current_device()] if accelerator.device.type == "cuda" else []
        stack.enter_context(torch.random.fork_rng(devices))
        layout, layers, n_bytes = _meet_the_data(models, dataset, accelerator.device, title, needs)
        recipe = settle_precision(recipe, accelerator.device)
        averaging = [WeightAveraging(model, recipe.averaging)] if recipe.averaging else []
        hooks = (*averaging, *hooks)
        what = (asdict(recipe), objective, hooks, len(dataset), dataset.n_classes, dataset.preprocessing)
        mark = fingerprint(repr(what), *models)
        run = _Run(model, dataset, recipe, hooks, accelerator)
        run.restore(checkpoints, mark, listener)
        settle_parts(run.position, recipe, model, run.n_images, n_bytes, accelerator, listener)
        in_parts = replace(recipe, accumulate=run.position.n_parts)
        update = Update(model, guide, dataset, in_parts, objective, hooks, layers, layout, accelerator)
        stack.callback(model.zero_grad)
        stack.callback(run.forget_compiled)
        run.go(update, checkpoints, mark, listener, title)
        same_everywhere(model)
    return run.position


def _meet_the_data(
    models: Sequence[nn.Module], dataset: ImageDataset, device: torch.device, title: str, needs: frozenset[str]
) -> tuple[torch.memory_format, tuple[str, ...], float]:
    """Some forward passes of each model on two images: complains of what does not fit.

    Returns:
        The memory layout that is fastest, the layers whose maps are compared or mixed, where any are, and the bytes an
        image that the first model keeps for backward.
    """
    pixels, _ = dataset.batch([0, len(dataset) - 1])
    inputs = dataset.prepare(pixels.to(device))
    widths = [try_scores(model, inputs, title, dataset.name).shape[1] for model in models]
    if len(set(widths)) > 1:
        raise UnsupportedModel(
            f"{title}: model and teacher must have the same classes, but have {widths[0]} and {widths[1]}."
        )
    if "labels" in needs:
        dataset.require_outputs(title, widths[0])
    layers = stage_layers(models, inputs) if "features" in needs else ()
    return fastest_layout(models, inputs), layers, saved_bytes(models[0], inputs)


class _Run:
    """One training run, and how far it has come."""

    def __init__(
        self,
        model: nn.Module,
        dataset: ImageDataset,
        recipe: Recipe,
        hooks: Sequence[Hook],
        accelerator: Accelerator,
    ) -> None:
        self.model, self.dataset, self.recipe = model, dataset, recipe
        self.hooks, self.accelerator = hooks, accelerator
        self.position = Position()
        n_processes = accelerator.num_processes
        batch_size = min(recipe.batch_size, len(dataset)) // n_processes * n_processes
        if batch_size < 2 * n_processes * max(1, recipe.accumulate):  # batch norm needs two
            parts = f" in {recipe.accumulate} parts" if recipe.accumulate > 1 else ""
            raise DataError(
                f"{dataset.name}: {len(dataset)} images in batches of {recipe.batch_size} must give {n_processes} "
                f"process(es) at least 2 images a step each{parts}, but do not. Give more images or start fewer "
                "processes."
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
        self.position = restore_everywhere(saved, self.model, self.optimizer, self.hooks)
        if self.position.step:
            listener.note(
                f"{self.position.step} of {self._n_steps} training steps are done already; going on from there."
            )

    def go(self, update: Update, checkpoints: Path | None, mark: str, listener: Progress, title: str) -> None:
        """All steps that are still to do, and what the hooks make of the model in the end."""
        if self.position.step < self._n_steps:
            self._go_on(update, checkpoints, mark, listener, title)
        for hook in self.hooks:
            hook.finish()

    def _go_on(self, update: Update, checkpoints: Path | None, mark: str, listener: Progress, title: str) -> None:
        position, order = self.position, self.order
        wrapped, optimizer, loader = self.accelerator.prepare(
            self.model, self.optimizer, batch_loader(self.dataset, order)
        )
        self.model.train()
        left = self._n_steps - position.step
        called = settle_calls(position, self.recipe, wrapped, update, left, self.n_images, self.accelerator, listener)
        saved_at = time.monotonic()

        def save() -> None:
            nonlocal saved_at
            saved_at = time.monotonic()
            if checkpoints is not None and self.accelerator.is_main_process:
                save_checkpoint(checkpoints, mark, position, self.model, self.optimizer, self.hooks)

        with listener.step(title, left) as step:
            while position.step < self._n_steps:
                order.epoch, order.first = divmod(position.step, order.n_per_epoch)
                tally = Tally(
                    position,
                    self.recipe,
                    order.n_per_epoch,
                    self.dataset.labelled,
                    self.accelerator,
                    step,
                    self._sparsity,
                    partial(listener.measured, title),
                )
                for pixels, labels in batches_of(loader):
                    moment = self._moment()
                    results = update.step(called, optimizer, pixels, labels, moment)
                    position.step += 1
                    tally.add(*results, len(labels), moment)
                    # Only where all processes have just fetched, and before the epoch is over, since it is saved as
                    # closed. The main process alone looks at the clock.
                    within = not tally.waiting and position.step % order.n_per_epoch
                    if within and time.monotonic() - saved_at >= 60 * self.recipe.checkpoint_minutes:
                        save()
                tally.close_epoch()
                for hook in self.hooks:
                    hook.end_epoch(moment)
                save()

    def forget_compiled(self) -> None:
        """PyTorch keeps what it compiled of a class, and stops compiling after some."""
        if any(self.position.compiled or ()):
            torch.compiler.reset()

    def _moment(self) -> Moment:
        step = self.position.step
        rate = learning_rate(step, self._n_steps, self.recipe.lr, self.recipe.warmup)
        return Moment(step, self._n_steps, self.order.n_per_epoch, rate)

    def _sparsity(self) -> float | None:
        """Of the first hook that knows one."""
        found = (hook.sparsity() for hook in self.hooks)
        return next((share for share in found if share is not None), None)

    @property
    def n_images(self) -> int:
        """A step, of this process."""
        return self.order.batch_size // self.accelerator.num_processes

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
