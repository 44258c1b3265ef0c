"""The stage that hands the small model over: program, exported files, each checked in a fresh process."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from compressor.runs.datasets import Datasets
from compressor.runs.folder import RunFolder
from compressor.runs.record import Record
from exporters.errors import UnsupportedOperator
from exporters.export import export
from exporters.signature import ExampleInputs
from exporters.types import ExportedFile
from exporters.verify import verify_all

PROGRAM = "pt2"
N_REAL_IMAGES = 8


def export_and_verify(record: Record, small: nn.Module, data: Datasets, folder: RunFolder) -> None:
    """Writes `model.pt2` and every format that was asked for, and compares each with the module.

    A file that disagrees stands in the record as failed and is deleted: it is not handed over.

    Raises:
        UnsupportedOperator: a format that was asked for cannot express the model. `model.pt2` is left out with a note.
    """
    options = record.options
    with record.stage("export") as facts:
        wanted = [name for name in options.formats if name != PROGRAM]
        with record.progress.step("Exporting", total=len(wanted) + 1) as step:
            try:
                formats = [PROGRAM, *wanted]
                files = _export(record, small, formats, folder)
            except UnsupportedOperator:
                files = _export(record, small, wanted, folder) if wanted else []
                record.note(
                    "model.pt2 was left out: torch.export cannot capture this model. plan.json replays on its class."
                )
            step.advance(len(files))
        facts.update({file.format: file.n_bytes for file in files})
    with record.stage("verify"), record.progress.step("Comparing files with the model", total=len(files)) as step:
        dynamic = all(file.dynamic_batch for file in files)
        real = _real_images(record, data, N_REAL_IMAGES if dynamic else record.source.inputs.batch_size)
        for file, outcome in zip(files, verify_all(files, small, record.source.inputs, extra_inputs=real), strict=True):
            record.verifications.append(outcome)
            if outcome.passed:
                record.files.append(file)
            else:
                _withdraw(record, file, outcome.failure)
            step.advance(note=file.format)


def _export(record: Record, small: nn.Module, formats: list[str], folder: RunFolder) -> list[ExportedFile]:
    return export(small, record.source.inputs, formats, folder.work, opset=record.options.opset or None)


def _withdraw(record: Record, file: ExportedFile, failure: str) -> None:
    for path in (file.path, *file.companions):
        path.unlink(missing_ok=True)
    reason = failure or "its outputs differ from the model's; the report has the errors"
    record.note(f"{file.path.name} is not handed over: {reason}")


def _real_images(record: Record, data: Datasets, n_images: int) -> dict[str, ExampleInputs]:
    dataset = data.val or data.train
    if dataset is None or len(record.source.inputs.tensors) != 1:
        return {}
    count = min(n_images, len(dataset))
    pixels, _ = dataset.batch(torch.linspace(0, len(dataset) - 1, count).long().tolist())
    inputs = record.source.inputs
    images = ExampleInputs(inputs.names, (dataset.prepare(pixels),), inputs.by_keyword)
    return {f"{count} images of {Path(dataset.name).name}": images}
