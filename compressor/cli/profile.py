"""compress profile FILE...: starts and times files; with two, compares them."""

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
    threads: flags.SeveralThreads = None,
    batch_size: flags.SeveralBatchSizes = None,
    processes: flags.Processes = None,
    loadgen: flags.Loadgen = None,
    input: flags.Input = None,
    output: flags.ProfileOutput = None,
    force: flags.ProfileForce = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Where the time goes, layer by layer, under the measured roofline.")
    ] = False,
    doctor: Annotated[
        bool, typer.Option("--doctor", help="Look for what makes the last file slow; up to a minute a target.")
    ] = False,
    quiet: flags.Quiet = None,
    json: flags.Json = None,
) -> None:
    """Time files in alternation, in fresh processes; with two or more, say which is faster with a 95 % interval.

    Each file is also started alone: load time, first inference, memory, and energy where the machine counts it.
    Several threads and batch sizes make a grid: [bold]--threads 1,2 --batch-size 1,8[/bold].
    """
    from compressor.cli.progress import ConsoleProgress, stdout_console
    from compressor.core.options import options_from
    from compressor.core.quantities import whole_numbers
    from compressor.profiling.machine import machine_facts
    from compressor.runs.preflight import check_threads
    from compressor.runs.profile_folder import check_folder, write_profile
    from compressor.runs.profiling import Profile, profile

    n_threads = whole_numbers(threads or "1", "--threads")
    batch_sizes = whole_numbers(batch_size or "1", "--batch-size")
    for number in n_threads:
        check_threads(options_from({"threads": number}))
    for number in batch_sizes:
        options_from({"batch_size": number})
    options = options_from(flags.typed(on=on))
    if output is not None:
        check_folder(output, bool(force))
    machine = machine_facts()
    with ConsoleProgress(quiet=bool(quiet or json)) as progress:
        found = profile(
            files,
            options.on,
            threads=n_threads,
            batch_size=batch_sizes,
            shapes=_shapes(input or []),
            processes=processes,
            loadgen=bool(loadgen),
            machine=machine,
            progress=progress,
        )
        examined = []
        if layers or doctor:
            from compressor.runs.examination import examine_files

            ratios: dict[str, float | None] = {}
            for one in found:  # of a grid, the first threads and batch size
                ratios.setdefault(one.target, one.comparisons[0].ratio if one.comparisons else None)
            examined = examine_files(
                files,
                ratios,
                doctor=doctor,
                threads=n_threads[0],
                batch_size=batch_sizes[0],
                shapes=_shapes(input or []),
                progress=progress,
            )
    if output is not None:
        write_profile(found, machine, output)
    if json:
        from compressor.core.serial import to_json, to_plain

        if examined:
            from json import dumps

            whole = {"profiles": [to_plain(one) for one in found], "examinations": [to_plain(one) for one in examined]}
            print(dumps(whole, indent=1))
        else:
            print(to_json(found, list[Profile]), end="")
    elif not quiet:
        from compressor.report.terminal_profile import print_profiles

        console = stdout_console()
        print_profiles(found, console)
        if examined:
            from compressor.report.layers_terminal import print_diagnosis, print_layers

            for each in examined:
                if layers:
                    print_layers([each.layers], console)
                if each.diagnosis is not None:
                    print_diagnosis(each.diagnosis, console)
        if output is not None:
            console.print(f"\nWritten to {output}/ (open profile.html)", markup=False, soft_wrap=True)


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
