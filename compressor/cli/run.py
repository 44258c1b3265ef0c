"""compress MODEL: the whole pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compressor.cli import flags
from compressor.cli.exits import DISAGREES, leave

DISAGREES_STEP = "Export another format, and report the model."
BUDGET_STEP = "Ask for less, or give a smaller --round-to."
DROP_STEP = "Ask for less, or allow more with --max-epochs or --max-drop."


def command(
    model: flags.ModelOrRecipes = None,
    arch: flags.Arch = None,
    arch_args: flags.ArchArgs = None,
    input: flags.Input = None,
    allow: flags.Allow = None,
    trust: flags.Trust = None,
    macs: flags.Macs = None,
    params: flags.Params = None,
    ratio: flags.Ratio = None,
    speedup: flags.Speedup = None,
    latency: flags.Latency = None,
    method: flags.Method = None,
    method_option: flags.MethodOption = None,
    allocation: flags.Allocation = None,
    round_to: flags.RoundTo = None,
    prune: flags.Prune = None,
    ignore: flags.Ignore = None,
    train: flags.Train = None,
    train_option: flags.TrainOption = None,
    train_epochs: flags.TrainEpochs = None,
    decompose: flags.Decompose = None,
    decompose_option: flags.DecomposeOption = None,
    data: flags.Data = None,
    val: flags.Val = None,
    mean: flags.Mean = None,
    std: flags.Std = None,
    size: flags.Size = None,
    recover: flags.Recover = None,
    recover_option: flags.RecoverOption = None,
    finetune_epochs: flags.FinetuneEpochs = None,
    max_drop: flags.MaxDrop = None,
    max_epochs: flags.MaxEpochs = None,
    distill: flags.Distill = None,
    lr: flags.LearningRate = None,
    train_batch_size: flags.TrainBatchSize = None,
    flip: flags.Flip = None,
    augment: flags.Augment = None,
    augment_option: flags.AugmentOption = None,
    features: flags.Features = None,
    features_option: flags.FeaturesOption = None,
    compile: flags.Compile = None,
    track: flags.Track = None,
    export: flags.Export = None,
    opset: flags.Opset = None,
    on: flags.On = None,
    threads: flags.Threads = None,
    batch_size: flags.BatchSize = None,
    control: flags.Control = None,
    control_arch: flags.ControlArch = None,
    control_args: flags.ControlArgs = None,
    control_accuracy: flags.ControlAccuracy = None,
    alternatives: flags.Alternatives = None,
    output: flags.Output = None,
    force: flags.Force = None,
    seed: flags.Seed = None,
    device: flags.Device = None,
    recipe: flags.Recipe = None,
    quiet: flags.Quiet = None,
    json: flags.Json = None,
) -> None:
    """Make a trained model smaller and faster: prune whole channels, recover, export, check and time it.

    [bold]compress --export onnx model.pt[/bold] writes a folder with the small model, exported files and report.html.

    Other verbs, each with its own --help:
    [bold]inspect[/bold] MODEL    what can be pruned, and why the rest cannot; cuts nothing
    [bold]profile[/bold] FILE...  time exported files, and compare them
    [bold]verify[/bold] RUN       load a run's files again and compare their outputs
    [bold]methods[/bold], [bold]targets[/bold], [bold]formats[/bold]   what there is, and what is missing here
    [bold]demo[/bold]             the whole job on a small model and data that come along

    Exit codes:
    0  done
    2  wrong options, data or folder
    3  a package is missing
    4  the model cannot be handled
    5  measurements cannot be compared
    6  an exported file disagrees with the model
    7  a budget or --max-drop was not met (the best result is written)
    70 a bug of ours
    """
    execute(flags.typed(**locals()))


def execute(typed: dict[str, Any]) -> None:
    """Runs the pipeline with these options over a recipe's, prints, and leaves with the run's exit code."""
    from compressor.cli.progress import ConsoleProgress, stdout_console
    from compressor.core.options import options_from, read_recipe
    from compressor.runs.preflight import preflight
    from compressor.runs.processes import is_main_process

    recipe = read_recipe(Path(typed["recipe"])) if "recipe" in typed else {}
    options = options_from(recipe, typed)
    preflight(options)
    progress = ConsoleProgress(quiet=options.quiet or not is_main_process())
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
        console.print(f"\nWritten to {options.output_folder}/ (open report.html)", markup=False, soft_wrap=True)
    if report.exit_code:
        from compressor.report.wording import problems_of

        step = DISAGREES_STEP if report.exit_code == DISAGREES else DROP_STEP if report.budget_met else BUDGET_STEP
        leave(f"{options.output_folder}: {problems_of(report)[0]} {step}", report.exit_code)
