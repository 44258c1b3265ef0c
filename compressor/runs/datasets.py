"""The images of a run: what it trains and calibrates on, and what it measures accuracy on."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from compressor.core.errors import DataError
from compressor.core.options import RunOptions
from compressor.core.progress import Progress
from compressor.data.dataset import ImageDataset
from compressor.data.opening import open_dataset
from compressor.runs.record import Source

# What --max-drop measures on where there is no --val: more images tell smaller drops, fewer leave more to train on.
SET_ASIDE_SHARE, SET_ASIDE_MOST = 0.2, 5000
SET_ASIDE_FROM = 10  # images; fewer cannot be divided


@dataclass(frozen=True)
class Datasets:
    """Either may be missing; then what needs it is not done, and the report says so."""

    train: ImageDataset | None = None
    val: ImageDataset | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know about the images."""
        return tuple(note for dataset in (self.train, self.val) if dataset is not None for note in dataset.notes)

    @property
    def preprocessing(self) -> dict[str, list[float]]:
        """Mean, standard deviation and size that the images were brought to; empty if there are none."""
        known = next((d.preprocessing for d in (self.val, self.train) if d is not None and d.preprocessing), None)
        if known is None:
            return {}
        return {"mean": list(known.mean), "std": list(known.std), "size": [float(side) for side in known.size]}


def open_datasets(options: RunOptions, source: Source, progress: Progress) -> Datasets:
    """Opens --data and --val as the model wants them: its channels and size, and the mean and std that are known.

    Flags win over the model's own configuration. Broken images are found here, before anything is trained.

    Raises:
        DataError: an image, a label or the whole set cannot be read; the two have other classes.
    """
    if not options.data and not options.val:
        return Datasets()
    image = source.inputs.tensors[0]
    shape = tuple(image.shape[1:]) if image.dim() == 4 else ()
    own = source.preprocessing
    mean = options.mean or tuple(own.get("mean", ())) or None
    std = options.std or tuple(own.get("std", ())) or None
    size = options.size or (shape[1:] if shape else None)

    def opened(path: str) -> ImageDataset | None:
        n_channels = shape[0] if shape else None
        return (
            open_dataset(path, mean=mean, std=std, size=size, n_channels=n_channels, progress=progress)
            if path
            else None
        )

    if mean is None:
        progress.note("No --mean and --std were given and the model names none: pixels are only scaled to 0..1.")
    train, val = opened(options.data), opened(options.val)
    if val is not None and options.max_drop is None:  # which does without
        val.require_labels("--val")
    if train is not None and val is not None:
        _refuse_other_classes(train, val)
    return Datasets(train, val)


def set_aside(data: Datasets, options: RunOptions) -> Datasets:
    """Under --max-drop without --val, a part of --data becomes the images to measure on; nothing else sees it.

    Raises:
        DataError: there are too few images.
    """
    train = data.train
    if options.max_drop is None or data.val is not None or train is None:
        return data
    n_images = len(train)
    if n_images < SET_ASIDE_FROM:
        raise DataError(
            f"--max-drop: needs at least {SET_ASIDE_FROM} images, to set some aside and measure on them, but "
            f"{train.name} has {n_images}. Give images to measure on with --val."
        )
    n_aside = min(round(n_images * SET_ASIDE_SHARE), SET_ASIDE_MOST)
    order = torch.randperm(n_images, generator=torch.Generator().manual_seed(options.seed))
    aside, rest = (indices.sort().values for indices in order.split([n_aside, n_images - n_aside]))
    note = (
        f"{n_aside} of the {n_images} images of --data were set aside to measure on (drawn with seed {options.seed}). "
        "If the original was trained on them, it does better there than elsewhere, and the drop looks larger than it "
        "is: give others with --val."
    )
    return Datasets(train.part(rest, train.notes), train.part(aside, (note,)))


def _refuse_other_classes(train: ImageDataset, val: ImageDataset) -> None:
    """Class folders are numbered by their names, so a class that one side lacks shifts all labels after it."""
    if train.class_names and val.class_names and train.class_names != val.class_names:
        only = sorted(set(train.class_names) ^ set(val.class_names))
        what = f"{', '.join(only[:3])}{', ...' if len(only) > 3 else ''} on one side only" if only else "another order"
        raise DataError(
            f"{val.name}: its classes must be those of {train.name}, but there is {what}. Make them the same."
        )
