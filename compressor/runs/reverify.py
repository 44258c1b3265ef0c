"""Checks a finished run again: hashes, and each exported file against the run's own program."""

from __future__ import annotations

from pathlib import Path

from compressor.core.errors import ModelFileError
from compressor.core.files import sha256_of
from compressor.core.progress import Progress
from compressor.core.serial import load_json
from compressor.report.schema import FileRow, ParityRow, Report
from compressor.runs.folder import FINISHED, require_finished
from compressor.runs.summary import failed_row, parity_rows
from exporters.files import reopen
from exporters.program import load_program
from exporters.verify import verify

PROGRAM = "model.pt2"


def verify_run(run: Path, progress: Progress) -> list[ParityRow]:
    """One row per comparison of each file of `run` with its `model.pt2`.

    A file that is missing or was changed since the run is a failed row; where that is `model.pt2`, so are all others.

    Raises:
        ModelFileError: the folder is not a finished run, or its model could not be written as a program.
    """
    require_finished(run)
    report = load_json(Report, run / FINISHED)
    damage = {recorded.name: _damage(run, recorded) for recorded in report.files}
    if PROGRAM not in damage:
        raise ModelFileError(f"{run}: has no {PROGRAM} to compare with. Make the run again.")
    if damage[PROGRAM]:
        others = f"{PROGRAM}, which it is compared with, is damaged or missing"
        return [_failed(recorded, damage[recorded.name] or others) for recorded in report.files]
    module, inputs, _ = load_program(run / PROGRAM)
    rows: list[ParityRow] = []
    with progress.step(f"Comparing files with {PROGRAM}", total=len(report.files)) as step:
        for recorded in report.files:
            if damage[recorded.name]:
                rows.append(_failed(recorded, damage[recorded.name]))
            else:
                file = reopen(run / recorded.name, recorded.format, inputs.names, recorded.details)
                rows += parity_rows(verify(file, module, inputs))
            step.advance(note=recorded.name)
    return rows


def _failed(recorded: FileRow, reason: str) -> ParityRow:
    return failed_row(recorded.name, recorded.format, reason)


def _damage(run: Path, recorded: FileRow) -> str:
    for name, sha256 in {recorded.name: recorded.sha256, **recorded.companions}.items():
        path = run / name
        if not path.is_file():
            return f"{name} is missing"
        if sha256_of(path) != sha256:
            return f"{name} was changed after the run (its SHA-256 differs)"
    return ""
