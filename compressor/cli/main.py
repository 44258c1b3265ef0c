"""`compress MODEL` is the job; other verbs stand beside it."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer
from typer.main import get_command

from compressor.cli import demo, inspect, listings, profile, run, verify
from compressor.cli.exits import one_sentence
from compressor.core.errors import InvalidOption

JOB = "run"
VERBS: dict[str, Callable[..., Any]] = {
    JOB: run.command,
    "inspect": inspect.command,
    "profile": profile.command,
    "verify": verify.command,
    "methods": listings.methods,
    "targets": listings.targets,
    "formats": listings.formats,
    "demo": demo.command,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; the verb may be left out for the main job."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        from compressor._version import __version__

        print(f"compress {__version__}")
        return
    if given[:1] == ["help"]:
        given = [*given[1:], "--help"]
    verb = given.pop(0) if given and given[0] in VERBS else JOB
    program = "compress" if verb == JOB else f"compress {verb}"
    with one_sentence(program):
        _refuse_misspelled_verb(verb, given)
        app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
        app.command(context_settings={"help_option_names": ["--help", "-h"]})(VERBS[verb])
        command = get_command(app)
        with command.make_context(program, given or (["--help"] if verb == JOB else [])) as context:
            command.invoke(context)


def _refuse_misspelled_verb(verb: str, given: Sequence[str]) -> None:
    """`compress inspct model.pt` would take `inspct` for a model file."""
    if verb != JOB or not given or given[0].startswith("-") or Path(given[0]).suffix or Path(given[0]).exists():
        return
    near = difflib.get_close_matches(given[0], VERBS, n=1, cutoff=0.75)
    if near:
        step = f"Did you mean `compress {near[0]}`? There are: {', '.join(v for v in VERBS if v != JOB)}."
        raise InvalidOption("compress", "the first word", "a model file that exists, or a verb", given[0], step)
