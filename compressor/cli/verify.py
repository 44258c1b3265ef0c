"""compress verify RUN: loads every exported file again and compares its outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compressor.cli import flags
from compressor.cli.exits import DISAGREES, leave


def command(
    run: Annotated[Path, typer.Argument(help="The folder given to -o.", show_default=False, metavar="RUN")],
    quiet: flags.Quiet = None,
    json: flags.Json = None,
) -> None:
    """Load every exported file of a run in a fresh process and compare it with model.pt2.

    Exit code 6 if one disagrees.
    """
    from compressor.cli.progress import ConsoleProgress, stdout_console
    from compressor.runs.folder import require_finished

    require_finished(run)
    progress = ConsoleProgress(quiet=bool(quiet or json))
    with progress:
        progress.note("Starting (loading PyTorch)")
        from compressor.runs.reverify import verify_run

        rows = verify_run(run, progress)
    if json:
        from compressor.core.serial import to_json

        print(to_json(rows), end="")
    elif not quiet:
        from compressor.report.terminal import print_parity

        print_parity(rows, stdout_console())
    failed = {row.file: row for row in rows if not row.passed}
    if failed:
        first = next(iter(failed.values()))
        reason = "its outputs differ from model.pt2's" if first.batch_size else first.inputs
        leave(f"{run}: {', '.join(failed)} must not be used ({reason}). Make the run again.", DISAGREES)
