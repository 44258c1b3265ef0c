"""compress MODEL: the whole pipeline."""

from __future__ import annotations

from typing import Any

from compressor.cli import flags
from compressor.cli.exits import one_sentence


@one_sentence
def command(
    model: flags.Model,
    export: flags.Export = None,
    method: flags.Method = None,
    macs: flags.Macs = None,
    params: flags.Params = None,
    ratio: flags.Ratio = None,
    allocation: flags.Allocation = None,
    method_option: flags.MethodOption = None,
    round_to: flags.RoundTo = None,
    ignore: flags.Ignore = None,
    data: flags.Data = None,
    val: flags.Val = None,
    mean: flags.Mean = None,
    std: flags.Std = None,
    size: flags.Size = None,
    recover: flags.Recover = None,
    finetune_epochs: flags.FinetuneEpochs = None,
    distill: flags.Distill = None,
    lr: flags.LearningRate = None,
    train_batch_size: flags.TrainBatchSize = None,
    flip: flags.Flip = None,
    arch: flags.Arch = None,
    arch_args: flags.ArchArgs = None,
    input: flags.Input = None,  # noqa: A002  (the flag's name)
    allow: flags.Allow = None,
    trust: flags.Trust = None,
    opset: flags.Opset = None,
    on: flags.On = None,
    threads: flags.Threads = None,
    batch_size: flags.BatchSize = None,
    output: flags.Output = None,
    force: flags.Force = None,
    seed: flags.Seed = None,
    device: flags.Device = None,
    recipe: flags.Recipe = None,
    quiet: flags.Quiet = None,
    json: flags.Json = None,
) -> None:
    """Make a trained model smaller and faster: prune whole channels, recover, export, check and time it.

    [bold]compress --export onnx model.pt[/bold] writes a run folder with the small model, the exported files and report.html.

    Other verbs: [bold]inspect[/bold] MODEL, [bold]profile[/bold] FILE..., [bold]verify[/bold] RUN, [bold]methods[/bold],
    [bold]targets[/bold], [bold]formats[/bold], [bold]demo[/bold]. Each has its own --help.

    Exit codes: 0 done, 2 wrong options, 3 a package is missing, 4 the model cannot be handled, 5 measurements cannot be compared,
    6 an exported file disagrees with the model, 7 a budget was not met (the best is written), 70 a bug.
    """
    given: dict[str, Any] = {name: value for name, value in locals().items() if name != "method_option"}
    execute(flags.typed(method_options=method_option, **given))


def execute(typed: dict[str, Any]) -> None:
    """Runs the pipeline with these options over a recipe's, prints, and leaves with the run's exit code."""
    from pathlib import Path

    from compressor.cli.progress import ConsoleProgress, stdout_console
    from compressor.core.options import options_from, read_recipe

    recipe = read_recipe(Path(typed["recipe"])) if "recipe" in typed else {}
    options = options_from(recipe, typed)
    progress = ConsoleProgress(quiet=options.quiet)
    with progress:
        progress.note("Starting (loading PyTorch)")
        from compressor.pipeline import compress_file

        result = compress_file(options, progress)
    if result is None:  # another process of this run writes and talks
        return
    report = result.report()
    if options.json:
        from compressor.core.serial import to_json

        print(to_json(report), end="")
    elif not options.quiet:
        from compressor.report.terminal import print_report

        console = stdout_console()
        print_report(report, console)
        console.print(f"\nWritten to {options.output_folder}/ (open report.html)")
    raise SystemExit(report.exit_code)
