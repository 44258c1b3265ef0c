"""Accuracy at one point of the run, measured on the validation images; without them it is unknown."""

from __future__ import annotations

import torch
from torch import nn

from compressor.data.dataset import ImageDataset
from compressor.report.schema import AccuracyRow
from compressor.report.wording import stage_name
from compressor.runs.datasets import Datasets
from compressor.runs.folder import RunFolder
from compressor.runs.processes import is_main_process
from compressor.runs.record import Record
from compressor.training.evaluate import evaluate
from exporters.signature import flatten_outputs

WORTH_SAYING_POINTS = 1.0


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
    if stage == "dense":
        note_on_classes(record, val)
    record.progress.note(f"Accuracy, {stage_name(stage)}: {row.top1_percent:.2f} % of {row.n_images} images")


def advise(record: Record) -> None:
    """Says what to do about accuracy that was lost and not fought for."""
    rows = record.accuracy
    options = record.options
    if not rows or options.finetune_epochs or options.max_drop is not None or not options.model:
        return
    lost = rows[0].top1_percent - rows[-1].top1_percent
    if lost > WORTH_SAYING_POINTS:
        step = "Fine-tuning gives accuracy back: add --data IMAGES --finetune-epochs 3 --distill."
        record.note(f"{lost:.1f} points of accuracy were lost. {step}")


def note_on_classes(record: Record, val: ImageDataset) -> None:
    """Folders of some of the model's classes are easily numbered otherwise than the model numbers them."""
    with torch.no_grad():
        scores = flatten_outputs(record.source.inputs.call(record.source.module))[0]
    n, n_outputs = val.n_classes, scores.shape[-1]
    if val.class_names and n < n_outputs:
        record.note(
            f"{val.name}: its {n} classes, in alphabetical order, are taken for outputs 0 to {n - 1} of {n_outputs}."
        )
