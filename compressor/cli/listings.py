"""compress methods, targets, formats: what there is, what it needs, and what is missing here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

COLUMNS = ("name", "does, and when to use it", "needs", "year", "paper")


def methods() -> None:
    """How channels are chosen and accuracy is given back: what each does and needs, when to use it, and its paper."""
    from compressor.core.plugins import PluginFolder
    from compressor.decompositions.kinds import KINDS

    for folder, title in (
        ("compressor.methods", "Methods"),
        ("compressor.training.regularizers", "Regularizers (--train)"),
        ("compressor.recovery", "Recoveries"),
        ("compressor.training.augmentations", "Augmentations (--augment)"),
        ("compressor.training.losses", "Losses of feature maps (--features)"),
    ):
        plugins = PluginFolder(folder, title)
        found = ((name, plugins.load(name)) for name in plugins.names())
        # The other losses are always there, and have options of their own.
        _print(title, COLUMNS, [_line(name, kind) for name, kind in found if hasattr(kind, "summary")])
    _print("Decompositions (--decompose)", COLUMNS, [_line(name, kind) for name, kind in KINDS.items()])


def targets() -> None:
    """Where latency can be measured, and why not where it cannot."""
    from compressor.targets import load_target, target_names

    found = [(name, load_target(name)()) for name in target_names()]
    rows = [(name, " ".join(target.accepts), target.unavailable() or "available") for name, target in found]
    _print("Targets", ("name", "reads", "here"), rows)


def formats() -> None:
    """Which files can be written, and what is missing for those that cannot."""
    from exporters.discovery import available_formats

    rows = [
        (info.name, info.suffix, info.summary, "installed" if info.installed else f"missing: {', '.join(info.missing)}")
        for info in available_formats()
    ]
    _print("Formats", ("name", "file", "is", "here"), rows)


def _line(name: str, kind: Any) -> tuple[str, ...]:
    needs = ", ".join(sorted(getattr(kind, "needs", ()))) or "nothing"
    return name, _does(kind), needs, _year(kind.paper), kind.paper


def _does(kind: Any) -> str:
    return f"{kind.summary}\n[dim]Use it when {kind.use_when}.[/dim]"


def _year(paper: str) -> str:
    """The year in which it was published; a dash where there is no paper.

    >>> _year("Li et al., Pruning Filters, ICLR 2017, arXiv:1608.08710"), _year("")
    ('2017', '–')
    """
    found = re.search(r"\b(19|20)\d\d\b(?!\.)", paper)
    return found.group() if found else "–"


def _print(title: str, columns: Iterable[str], rows: Iterable[tuple[str, ...]]) -> None:
    from rich import box
    from rich.table import Table

    from compressor.cli.progress import stdout_console

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, no_wrap=column in ("name", "year"), overflow="fold")
    for row in rows:
        table.add_row(*row)
    stdout_console().print(table)
