"""`compress MODEL` is the job; other verbs stand beside it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from compressor.cli import demo, inspect, listings, profile, run, verify

VERBS = {
    "run": run.command,
    "inspect": inspect.command,
    "profile": profile.command,
    "verify": verify.command,
    "methods": listings.methods,
    "targets": listings.targets,
    "formats": listings.formats,
    "demo": demo.command,
}

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False, name="compress")
for verb, command in VERBS.items():
    app.command(verb)(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; the verb may be left out for the main job."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        from compressor._version import __version__

        print(f"compress {__version__}")
        return
    app(given if given and given[0] in VERBS else ["run", *(given or ["--help"])], prog_name="compress")
