"""Fine-tuning of the small model: cross-entropy with labels, distillation from the original, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from compressor.core.errors import DataError, InvalidOption
from compressor.core.protocols import RecoveryContext
from compressor.data.batches import from_batches
from compressor.data.dataset import ImageDataset
from compressor.training.augmentations.horizontal_flip import HorizontalFlip
from compressor.training.augmentations.random_crop import RandomCrop
from compressor.training.chosen import chosen_augmentations, chosen_features
from compressor.training.loop import train
from compressor.training.losses.cross_entropy import CrossEntropy
from compressor.training.losses.distillation import Distillation
from compressor.training.protocols import Augmentation, Loss
from compressor.training.recipe import AUTO, Recipe
from compressor.training.update import Objective

OWNER = "fine-tuning"


@dataclass(frozen=True)
class FineTune:
    """Minimises (1 - a) * cross-entropy + a * distillation, where a is `distill`; only distillation without labels.

    A loss of feature maps may come on top (`features`).

    Options:
        epochs: passes over the training images, at least 1.
        lr: peak of the one-cycle learning rate (SGD, Nesterov momentum 0.9), above 0.
        batch_size: images a step over all processes, at least 2.
        weight_decay: at least 0; not on biases and norm layers.
        warmup: share of the steps in which the learning rate rises, 0 to below 1.
        distill: weight a of distillation from the original, 0 to 1; 1 where there are no labels.
        temperature: of distillation, above 0.
        label_smoothing: of cross-entropy, 0 to below 1.
        crop: shift images by up to an eighth of their side.
        flip: mirror half of the images left to right. Off unless asked for: right for photographs, wrong for
            characters, signs and whatever else has a left and a right.
        augment: other augmentations by name, in order; one of them may mix images. Also where the images came from
            Python, which are else not varied.
        augment_options: theirs, as "cutmix.alpha=0.5".
        features: a loss that compares feature maps with the original's, by name; "": none.
        features_options: its options, as "order=1", and "weight=0.5", by which it counts (else 1).
        clip_norm, averaging, accumulate, precision, compile: as of `compressor.training.recipe.Recipe`.
        checkpoint_minutes: between checkpoints inside an epoch, at least 0.
    """

    summary: ClassVar[str] = "fine-tuning with labels, distillation from the original, or both"
    paper: ClassVar[str] = "Hinton, Vinyals, Dean, NIPS 2014 Deep Learning Workshop, arXiv 1503.02531 (distillation)"
    use_when: ClassVar[str] = "there is time to train, which gives most of the accuracy back"
    needs: ClassVar[frozenset[str]] = frozenset({"data"})

    epochs: int = 3
    lr: float = 0.05
    batch_size: int = 128
    weight_decay: float = 5e-4
    warmup: float = 0.1
    distill: float = 0.5
    temperature: float = 4.0
    label_smoothing: float = 0.0
    crop: bool = True
    flip: bool = False
    augment: tuple[str, ...] = ()
    augment_options: tuple[str, ...] = ()
    features: str = ""
    features_options: tuple[str, ...] = ()
    clip_norm: float = 0.0
    averaging: float = 0.0
    accumulate: int = 0
    precision: str = AUTO
    compile: str = AUTO
    checkpoint_minutes: float = 5.0

    def __post_init__(self) -> None:
        if not 0 <= self.distill <= 1:
            raise InvalidOption("finetune", "distill", "from 0 to 1", self.distill)
        self.recipe(seed=0)
        self._losses(labelled=True)
        _, mixing = chosen_augmentations(self.augment, self.augment_options)
        learns_from_original = self.distill or chosen_features(self.features, self.features_options)
        if learns_from_original and mixing is not None and not callable(mixing):
            step = "Leave it out, or train on the labels alone."
            allowed = "what mixes images before the network and not inside it, since the original is shown them too"
            raise InvalidOption("finetune", "augment", allowed, ", ".join(self.augment), step)

    def apply(self, context: RecoveryContext, progress: Any) -> dict[str, float | int | str]:
        """Trains `context.model` in place on `context.train`, or on `context.batches`.

        Returns:
            epochs, steps, batch size, what was minimised and how images were varied, images per second; loss and
            training accuracy (percent, on augmented images) of each epoch.

        Raises:
            DataError: no data, or `distill` is 0 and there are no labels.
            As `compressor.training.loop.train`.
        """
        dataset = _dataset(context)
        if not self.distill:
            dataset.require_labels(f"{OWNER} without distillation")
        objective = self.objective(dataset)
        result = train(
            context.model,
            dataset,
            self.recipe(context.seed),
            objective,
            teacher=context.teacher or context.original,
            device=context.device,
            checkpoints=context.checkpoints,
            progress=progress,
            title=OWNER,
        )
        varied = [*objective.augmentations, *([objective.mixing] if objective.mixing is not None else [])]
        facts: dict[str, float | int | str] = {
            "epochs": self.epochs,
            "steps": result.step,
            "images": len(dataset),
            "batch_size": min(self.batch_size, len(dataset)),
            "loss": " + ".join(f"{weight:g} {loss}" for weight, loss in (*objective.losses, *objective.feature_losses)),
            "augmentation": ", ".join(str(one) for one in varied) or "none",
            "images_per_second": round(result.images_per_s, 1),
        }
        facts |= {f"loss_epoch_{i}": round(loss, 6) for i, loss in enumerate(result.losses, 1)}
        facts |= {f"train_accuracy_percent_epoch_{i}": round(a, 3) for i, a in enumerate(result.accuracies_percent, 1)}
        return facts

    def recipe(self, seed: int) -> Recipe:
        """How the training goes, by these options."""
        return Recipe(
            epochs=self.epochs,
            lr=self.lr,
            batch_size=self.batch_size,
            weight_decay=self.weight_decay,
            warmup=self.warmup,
            seed=seed,
            checkpoint_minutes=self.checkpoint_minutes,
            clip_norm=self.clip_norm,
            averaging=self.averaging,
            accumulate=self.accumulate,
            precision=self.precision,
            compile=self.compile,
        )

    def objective(self, dataset: ImageDataset) -> Objective:
        """What is minimised on these images, and how they are varied."""
        named, mixing = chosen_augmentations(self.augment, self.augment_options)
        features = chosen_features(self.features, self.features_options)
        return Objective(
            self._losses(dataset.labelled),
            feature_losses=[features] if features is not None else [],
            augmentations=[*self._augmentations(dataset, named), *named],
            mixing=mixing,
        )

    def _losses(self, labelled: bool) -> list[tuple[float, Loss]]:
        share = self.distill if labelled else 1.0
        both: list[tuple[float, Loss]] = [
            (1 - share, CrossEntropy(self.label_smoothing)),
            (share, Distillation(self.temperature)),
        ]
        return [(weight, loss) for weight, loss in both if weight > 0]

    def _augmentations(self, dataset: ImageDataset, named: Sequence[Augmentation]) -> list[Augmentation]:
        """Those of the switches that are not named as well."""
        if dataset.preprocessing is None:  # inputs given from Python: we do not know that they are pictures
            return []
        switched = ([RandomCrop()] if self.crop else []) + ([HorizontalFlip()] if self.flip else [])
        return [one for one in switched if type(one) not in map(type, named)]


def _dataset(context: RecoveryContext) -> ImageDataset:
    if context.train is not None:
        dataset: ImageDataset = context.train
        return dataset
    if context.batches is not None:
        return from_batches(context.batches, name="calibration batches")
    raise DataError(f"{OWNER}: needs images, but got none. Give them with --data, or choose another recovery.")


PLUGIN = FineTune
