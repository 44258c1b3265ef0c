"""Checks a finished run again: hashes, and each exported file against the run's own program."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from compressor.core.errors import ModelFileError
from compressor.core.files import sha256_of
from compressor.core.progress import Progress
from compressor.core.serial import load_json
from compressor.report.schema import FileRow, ParityRow, Report
from compressor.runs.folder import FINISHED, require_finished
from exporters.files import reopen
from exporters.program import load_program
from exporters.verify import verify


def verify_run(run: Path, progress: Progress) -> list[ParityRow]:
    """One row per comparison of each file of `run` with its `model.pt2`.

    A file that is missing or was changed since the run is a failed row.

    Raises:
        ModelFileError: the folder is not a finished run, or it has no program to compare with.
    """
    require_finished(run)
    report = load_json(Report, run / FINISHED)
    program = run / "model.pt2"
    if not program.is_file():
        raise ModelFileError(f"{run}: has no model.pt2 to compare with. Make the run again.")
    module, inputs, _ = load_program(program)
    rows: list[ParityRow] = []
    with progress.step("Comparing files with model.pt2", total=len(report.files)) as step:
        for recorded in report.files:
            damage = _damage(run, recorded)
            if damage:
                rows.append(
                    ParityRow(recorded.name, recorded.format, 0, damage, float("inf"), float("inf"), passed=False)
                )
            else:
                outcome = verify(
                    reopen(run / recorded.name, recorded.format, inputs.names, recorded.details), module, inputs
                )
                row = ParityRow(
                    recorded.name, recorded.format, 0, outcome.failure, float("inf"), float("inf"), passed=False
                )
                rows += [row] if outcome.failure else []
                rows += [
                    replace(
                        row,
                        batch_size=c.batch_size,
                        inputs=c.inputs,
                        max_abs_error=c.max_abs_error,
                        max_rel_error=c.max_rel_error,
                        passed=c.passed,
                    )
                    for c in outcome.checks
                ]
            step.advance(note=recorded.name)
    return rows


def _damage(run: Path, recorded: FileRow) -> str:
    path = run / recorded.name
    if not path.is_file():
        return "the file is missing"
    return "" if sha256_of(path) == recorded.sha256 else "the file was changed after the run (its SHA-256 differs)"
