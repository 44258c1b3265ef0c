"""The images of a run: what it trains and calibrates on, and what it measures accuracy on."""

from __future__ import annotations

from dataclasses import dataclass

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
        DataError: an image, a label or the whole set cannot be read.
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
    return Datasets(train, val)
