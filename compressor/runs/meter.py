"""How near a model is to the original, in one number that --max-drop can be held against."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from compressor.data.dataset import ImageDataset
from compressor.runs.accuracy import note_on_classes
from compressor.runs.datasets import Datasets
from compressor.runs.folder import RunFolder
from compressor.runs.processes import same_for_all
from compressor.runs.record import Record
from compressor.training.evaluate import evaluate, predict

ACCURACY, AGREEMENT = "accuracy", "agreement"


@dataclass(frozen=True)
class Meter:
    """Accuracy on labelled images; else agreement: how often the answer is the original's."""

    measure: str
    images: ImageDataset  # with labels, or with the original's answers in their place
    original_percent: float
    record: Record

    @classmethod
    def of(cls, record: Record, data: Datasets, folder: RunFolder) -> Meter:
        """Measures the original, or asks it.

        Raises:
            UnsupportedModel: it is no classifier.
            DataError: the images do not fit it.
        """
        images, original = data.val, record.source.original
        if images is None:
            raise RuntimeError("images to measure on are set aside before")
        title = "measuring the original"
        if not images.labelled:
            answers = predict(original, images, record.device, record.progress, title=title)
            record.note(
                f"{images.name} has no labels: agreement with the original's answers stands in for accuracy, "
                "which is unknown."
            )
            return cls(AGREEMENT, images.relabelled(same_for_all(answers, record.device)), 100.0, record)

        def measured() -> float:
            return evaluate(original, images, record.device, record.progress, title=title)[0]

        note_on_classes(record, images)
        percent = same_for_all(folder.remember("ladder-original", float, measured), record.device)
        return cls(ACCURACY, images, percent, record)

    def percent(self, model: nn.Module) -> float:
        """Top-1 accuracy or agreement of `model`, which is left as it is."""
        title = f"measuring {self.measure}"
        return evaluate(model, self.images, self.record.device, self.record.progress, title=title)[0]
