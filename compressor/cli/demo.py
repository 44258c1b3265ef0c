"""compress demo: the main job on a small real model and dataset that ship with the dependencies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compressor.cli import flags
from compressor.cli.run import execute

Folder = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for the demo's files and its run.", metavar="FOLDER")
]


def command(
    output: Folder = Path("demo-run"),
    macs: flags.Macs = None,
    method: flags.Method = None,
    force: flags.Force = None,
    quiet: flags.Quiet = None,
    json: flags.Json = None,
) -> None:
    """Train a small residual network on scikit-learn's digits, then compress it as `compress MODEL` would."""
    from compressor.cli.progress import ConsoleProgress
    from compressor.core.options import options_from
    from compressor.runs.folder import RunFolder
    from compressor.runs.preflight import check_names

    typed = flags.typed(macs=macs or "30%", method=method, force=force, quiet=quiet, json=json)
    typed |= {"export": ["onnx", "openvino"], "output": str(output / "run")}
    options = options_from(typed)
    check_names(options)
    RunFolder.check(options.output_folder, options.force)
    with ConsoleProgress(quiet=options.quiet) as progress:
        progress.note("Starting (loading PyTorch)")
        from compressor.demo.prepare import MEAN, STD, prepare

        files = prepare(output / "input", progress)
    execute(
        {
            "model": str(files.weights),
            "arch": "compressor.demo.network:make_network",
            "data": str(files.train),
            "val": str(files.val),
            "mean": [MEAN],
            "std": [STD],
            "finetune_epochs": 3,
            "distill": True,
            **typed,
        }
    )
