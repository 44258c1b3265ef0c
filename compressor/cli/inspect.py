"""compress inspect MODEL: what is in the file, and what may be pruned; cuts nothing."""

from __future__ import annotations

from pathlib import Path

from compressor.cli import flags


def command(
    model: flags.Model,
    arch: flags.Arch = None,
    arch_args: flags.ArchArgs = None,
    input: flags.Input = None,
    allow: flags.Allow = None,
    trust: flags.Trust = None,
    prune: flags.Prune = None,
    ignore: flags.Ignore = None,
    data: flags.Data = None,
    seed: flags.Seed = None,
    quiet: flags.Quiet = None,
    json: flags.Json = None,
) -> None:
    """What is in the file, its inputs, the groups of channels, MACs, parameters, and what cannot be pruned and why."""
    given = dict(locals())
    from compressor.cli.progress import ConsoleProgress, stdout_console
    from compressor.core.options import options_from
    from compressor.loading.recognise import recognise

    options = options_from(flags.typed(**given))
    recognise(Path(options.model))  # what is no model file need not wait for PyTorch
    progress = ConsoleProgress(quiet=options.quiet or options.json)
    with progress:
        progress.note("Starting (loading PyTorch)")
        from compressor.pipeline import inspect_file

        inspection = inspect_file(options, progress)
    if options.json:
        from compressor.core.serial import to_json

        print(to_json(inspection), end="")
    elif not options.quiet:
        from compressor.report.terminal import print_inspection

        print_inspection(inspection, stdout_console())
