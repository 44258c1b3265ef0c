"""compress profile FILE...: times files; with two, compares them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compressor.cli import flags


def command(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Exported files (.onnx, .xml, .pt2). The first is the base.", show_default=False, metavar="FILE..."
        ),
    ],
    on: flags.On = None,
    threads: flags.Threads = None,
    batch_size: flags.BatchSize = None,
    input: flags.Input = None,
    quiet: flags.Quiet = None,
    json: flags.Json = None,
) -> None:
    """Time files in alternation, in fresh processes; with two or more, say which is faster with a 95 % interval."""
    from compressor.cli.progress import ConsoleProgress, stdout_console

    targets = flags.typed(on=on).get("on", ())
    progress = ConsoleProgress(quiet=bool(quiet or json))
    with progress:
        from compressor.core.options import options_from
        from compressor.loading.input_spec import parse_inputs
        from compressor.runs.profiling import profile

        checked = options_from(flags.typed(threads=threads, batch_size=batch_size))
        shapes = {spec.name: spec.shape for spec in parse_inputs(input or ()) if spec.name}
        found = profile(
            files, targets, threads=checked.threads, batch_size=checked.batch_size, shapes=shapes, progress=progress
        )
    if json:
        from compressor.core.serial import to_json
        from compressor.runs.profiling import Profile

        print(to_json(found, list[Profile]), end="")
    elif not quiet:
        from compressor.report.terminal import print_measurements

        for one in found:
            print_measurements(one.measurements, one.comparisons, stdout_console())
