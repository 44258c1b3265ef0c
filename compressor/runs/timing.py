"""The stage that times the compressed files against the original's, in the same format, on each target."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from compressor.core import serial
from compressor.core.errors import InvalidOption, ModelFileError, UnsupportedModel
from compressor.core.measurement import Measurement
from compressor.profiling.compare import compare
from compressor.runs.bench import Effort, accepted, export_original, not_accepted, targets_of, timed
from compressor.runs.contract import LONGER, holds, judge
from compressor.runs.folder import RunFolder
from compressor.runs.record import Record, Timing
from compressor.runs.starting import start_pairs
from compressor.targets import load_target
from exporters.types import ExportedFile


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
            pairs[name] = target, accepted(target, record.files)
        needed = [file.format for target, file in pairs.values() if file is not None and not target.unavailable()]
        export_original(record, needed, folder)
        for name, (target, file) in pairs.items():
            record.timings.append(_time(record, name, target, file))
        start_pairs(record)
        judge(record)
        measured = [m for timing in record.timings for m in (timing.base, timing.compressed) if m is not None]
        measurements = [replace(m, path=m.path.relative_to(folder.work)) for m in measured]
        serial.save_json(measurements, folder.work / "measurements.json", list[Measurement])


def _time(record: Record, name: str, target: Any, file: ExportedFile | None) -> Timing:
    reason = target.unavailable()
    if not reason and file is None:
        reason = not_accepted(target)
    if reason or file is None:
        record.note(f"{name} was not timed: {reason}")
        return Timing(name, unavailable=reason)
    base = next(original for original in record.base_files if original.format == file.format)
    try:
        before, after = timed(record, name, [base.path, file.path], Effort())
        if not holds(record, before, after):
            before, after = timed(record, name, [base.path, file.path], LONGER)
    except (InvalidOption, ModelFileError, UnsupportedModel) as error:  # no reason to lose everything else
        record.note(f"{name} was not timed: {error}")
        return Timing(name, unavailable=str(error))
    return Timing(name, base=before, compressed=after, comparison=compare(before, after))
