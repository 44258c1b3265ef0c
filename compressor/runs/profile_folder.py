"""The folder of `compress profile -o FOLDER`: profile.json with every sample, and profile.html."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

from compressor._version import __version__
from compressor.core.errors import OutputError
from compressor.core.files import output_errors, write_atomically
from compressor.core.measurement import MachineFacts
from compressor.core.serial import save_json
from compressor.report.profile_html import render_profile
from compressor.report.profile_schema import Profile, ProfileReport
from compressor.runs.folder import require_writable

FINISHED, PAGE = "profile.json", "profile.html"


def check_folder(folder: Path, force: bool) -> None:
    """Whether a profile may be written there; changes nothing.

    Raises:
        OutputError: it is a file or cannot be written, holds something else, or a profile (without `force`).
    """
    with output_errors(folder):
        require_writable(folder)
        names = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    if FINISHED in names:
        if not force:
            step = "Choose another folder with -o, or replace it with --force."
            raise OutputError(f"{folder}: holds a finished profile. {step}")
        return
    foreign = sorted(name for name in names if not name.startswith("."))
    if foreign:
        step = "Choose another folder with -o."
        raise OutputError(f"{folder}: is not empty and not a profile (it holds {foreign[0]}). {step}")


def write_profile(profiles: Sequence[Profile], machine: MachineFacts, folder: Path) -> ProfileReport:
    """Makes the folder and writes the page, then the samples: a folder with profile.json is finished.

    Raises:
        OutputError: it cannot be written.
    """
    created = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    report = ProfileReport(tuple(profiles), machine, created, __version__)
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / PAGE, render_profile(report))
    save_json(report, folder / FINISHED)
    return report
