"""The stage that times the compressed files against the original's, in the same format, on each target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from compressor.core import serial
from compressor.core.errors import InvalidOption, ModelFileError, UnsupportedModel
from compressor.core.measurement import Measurement
from compressor.profiling.compare import compare
from compressor.runs.bench import accepted, export_original, not_accepted, targets_of, timed
from compressor.runs.contract import LAST_WORD, judge, tells
from compressor.runs.control import control_file
from compressor.runs.control_narrow import make_narrow
from compressor.runs.examination import examine_run
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
        make_narrow(record)
        for name, (target, file) in pairs.items():
            control, why_not = control_file(record, file.format, folder) if file is not None else (None, "")
            timing = _time(record, name, target, file, control)
            record.timings.append(replace(timing, control_unavailable=timing.control_unavailable or why_not))
        start_pairs(record)
        judge(record)
        examine_run(record)
        found = [m for each in record.timings for m in (each.base, each.compressed, each.control) if m is not None]
        measurements = [replace(m, path=_within(m.path, folder.work)) for m in found]
        serial.save_json(measurements, folder.work / "measurements.json", list[Measurement])


def _time(
    record: Record, name: str, target: Any, file: ExportedFile | None, control: ExportedFile | None = None
) -> Timing:
    reason = target.unavailable()
    if not reason and file is None:
        reason = not_accepted(target)
    if reason or file is None:
        record.note(f"{name} was not timed: {reason}")
        return Timing(name, unavailable=reason)
    base = next(original for original in record.base_files if original.format == file.format)
    arms = [base, file, *([control] if control else [])]
    try:
        for effort in LAST_WORD:
            before, after, *third = timed(record, name, [arm.path for arm in arms], effort)
            if tells(record, before, after):
                break
    except (InvalidOption, ModelFileError, UnsupportedModel) as error:  # no reason to lose everything else
        if control is not None:  # which may be to blame
            return replace(_time(record, name, target, file), control_unavailable=str(error))
        record.note(f"{name} was not timed: {error}")
        return Timing(name, unavailable=str(error))
    return Timing(name, "", before, after, compare(before, after), third[0] if third else None)


def _within(path: Path, folder: Path) -> Path:
    """Inside the run folder; of a control that was timed where the user has it, the name."""
    return path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
