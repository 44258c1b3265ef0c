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
    from compressor.core.options import options_from
    from compressor.runs.preflight import check_threads
    from compressor.runs.profiling import Profile, profile

    options = options_from(flags.typed(on=on, threads=threads, batch_size=batch_size))
    check_threads(options)
    with ConsoleProgress(quiet=bool(quiet or json)) as progress:
        found = profile(
            files,
            options.on,
            threads=options.threads,
            batch_size=options.batch_size,
            shapes=_shapes(input or []),
            progress=progress,
        )
    if json:
        from compressor.core.serial import to_json

        print(to_json(found, list[Profile]), end="")
    elif not quiet:
        from compressor.report.terminal import print_measurements

        for one in found:
            print_measurements(one.measurements, one.comparisons, stdout_console())


def _shapes(texts: list[str]) -> dict[str, tuple[int, ...]]:
    """{input: whole shape}; a file's inputs are told apart by their names."""
    if not texts:
        return {}
    from compressor.core.errors import InvalidOption
    from compressor.loading.input_spec import parse_inputs

    specs = parse_inputs(texts)
    if not all(spec.name for spec in specs):
        raise InvalidOption("profile", "--input", "NAME=SHAPE, as in x=1x3x224x224", ", ".join(texts))
    return {spec.name: spec.shape for spec in specs}
