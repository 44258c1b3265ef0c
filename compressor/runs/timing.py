"""The stage that times the compressed files against the original's, in the same format, on each target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from compressor.core import serial
from compressor.core.errors import InvalidOption, ModelFileError, UnsupportedModel
from compressor.core.measurement import Measurement
from compressor.core.options import RunOptions
from compressor.profiling.compare import compare
from compressor.profiling.timer import measure
from compressor.runs.folder import RunFolder
from compressor.runs.record import Record, Timing
from compressor.targets import factory_of, load_target
from exporters.export import export
from exporters.types import ExportedFile

DEFAULT_TARGETS = {"onnx": "onnxruntime:cpu", "openvino": "openvino:cpu"}


def targets_of(options: RunOptions) -> tuple[str, ...]:
    """Targets that were asked for; else the CPU runtime of each exported format, and PyTorch where there is none."""
    if "none" in options.on:
        return ()
    names = options.on or tuple(DEFAULT_TARGETS[f] for f in options.formats if f in DEFAULT_TARGETS) or ("torch:cpu",)
    for name in names:
        factory_of(name)
    return names


def time_against_original(record: Record, folder: RunFolder) -> None:
    """Exports the original in the formats that the targets need and times both files in alternation.

    A target that is not here, or that reads none of the exported files, is listed with its reason.
    """
    targets = targets_of(record.options)
    if not targets:
        return
    with record.stage("profile"):
        pairs: dict[str, tuple[Any, ExportedFile | None]] = {}
        for name in targets:
            target = load_target(name)()
            pairs[name] = target, _accepted(target, record.files)
        needed = [file.format for target, file in pairs.values() if file is not None and not target.unavailable()]
        if needed:
            with record.progress.step("Exporting the original, to time it"):
                record.base_files += export(
                    record.source.original, record.source.inputs, list(dict.fromkeys(needed)), folder.work / "base"
                )
        for name, (target, file) in pairs.items():
            record.timings.append(_time(record, name, target, file))
        measured = [m for timing in record.timings for m in (timing.base, timing.compressed) if m is not None]
        measurements = [replace(m, path=m.path.relative_to(folder.work)) for m in measured]
        serial.save_json(measurements, folder.work / "measurements.json", list[Measurement])


def _time(record: Record, name: str, target: Any, file: ExportedFile | None) -> Timing:
    reason = target.unavailable()
    if not reason and file is None:
        reason = f"no exported file is a {' or '.join(target.accepts)}; add the format to --export"
    if reason or file is None:
        record.note(f"{name} was not timed: {reason}")
        return Timing(name, unavailable=reason)
    base = next(original for original in record.base_files if original.format == file.format)
    options = record.options
    shapes = {
        n: (options.batch_size, *t.shape[1:])
        for n, t in zip(record.source.inputs.names, record.source.inputs.tensors, strict=True)
    }
    try:
        before, after = measure(
            [base.path, file.path],
            name,
            factory_of(name),
            threads=options.threads,
            batch_size=options.batch_size,
            shapes=shapes,
            progress=record.progress,
        )
    except (InvalidOption, ModelFileError, UnsupportedModel) as error:  # no reason to lose everything else
        record.note(f"{name} was not timed: {error}")
        return Timing(name, unavailable=str(error))
    return Timing(name, base=before, compressed=after, comparison=compare(before, after))


def _accepted(target: Any, files: Sequence[ExportedFile]) -> ExportedFile | None:
    """The exported file that the target reads; its own format (IR on OpenVINO) before a foreign one."""
    fitting = [file for file in files if Path(file.path).suffix in target.accepts]
    return min(fitting, key=lambda file: target.accepts.index(file.path.suffix), default=None)
