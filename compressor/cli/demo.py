"""compress demo: the main job on a small real model and dataset that ship with the dependencies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compressor.cli import flags
from compressor.cli.exits import one_sentence
from compressor.cli.run import execute


@one_sentence
def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the demo's files and its run.")] = Path("demo-run"),
    macs: flags.Macs = None,
    method: flags.Method = None,
    force: flags.Force = None,
    quiet: flags.Quiet = None,
    json: flags.Json = None,
) -> None:
    """Train a small residual network on scikit-learn's digits, then compress it as `compress MODEL` would."""
    from compressor.cli.progress import ConsoleProgress

    with ConsoleProgress(quiet=bool(quiet)) as progress:
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
            "export": ["onnx", "openvino"],
            "finetune_epochs": 3,
            "distill": True,
            "output": str(output / "run"),
            **flags.typed(macs=macs or "30%", method=method, force=force, quiet=quiet, json=json),
        }
    )
