"""Accuracy at one point of the run, measured on the validation images; without them it is unknown."""

from __future__ import annotations

from torch import nn

from compressor.report.schema import AccuracyRow
from compressor.runs.datasets import Datasets
from compressor.runs.folder import RunFolder
from compressor.runs.processes import is_main_process
from compressor.runs.record import Record
from compressor.training.evaluate import evaluate


def measure_accuracy(record: Record, stage: str, module: nn.Module, data: Datasets, folder: RunFolder) -> None:
    """Adds a row to the record; read back if the run was interrupted after it. Of several processes, one measures."""
    val = data.val
    if val is None or not is_main_process():
        return
    val.require_labels("--val")

    def measured() -> AccuracyRow:
        top1_percent, n_images = evaluate(module, val, record.device, record.progress)
        return AccuracyRow(stage, top1_percent, n_images)

    row = folder.remember(f"accuracy-{stage}", AccuracyRow, measured)
    record.accuracy.append(row)
    record.progress.note(f"Accuracy, {stage}: {row.top1_percent:.2f} % of {row.n_images} images")
