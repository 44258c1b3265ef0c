"""The images of a run: what it trains and calibrates on, and what it measures accuracy on."""

from __future__ import annotations

from dataclasses import dataclass

from compressor.core.errors import DataError
from compressor.core.options import RunOptions
from compressor.core.progress import Progress
from compressor.data.dataset import ImageDataset
from compressor.data.opening import open_dataset
from compressor.runs.record import Source


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
    if val is not None:
        val.require_labels("--val")
    if train is not None and val is not None:
        _refuse_other_classes(train, val)
    return Datasets(train, val)


def _refuse_other_classes(train: ImageDataset, val: ImageDataset) -> None:
    """Class folders are numbered by their names, so a class that one side lacks shifts all labels after it."""
    if train.class_names and val.class_names and train.class_names != val.class_names:
        only = sorted(set(train.class_names) ^ set(val.class_names))
        what = f"{', '.join(only[:3])}{', ...' if len(only) > 3 else ''} on one side only" if only else "another order"
        raise DataError(
            f"{val.name}: its classes must be those of {train.name}, but there is {what}. Make them the same."
        )
