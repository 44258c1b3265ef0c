"""Parts of the terminal's tables. They fit 80 columns, say the same without colours, and use no letters beyond ASCII.

Names come from foreign files: they are never read as markup, their control characters are replaced, and where they are
too long their middle is left out.
"""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from compressor.report import units, wording

STYLES = {wording.GOOD: "green", wording.BAD: "red", wording.NEUTRAL: ""}

_ASCII = str.maketrans({"×": "x", "→": "->", "−": "-", "±": "+-", "…": "~", "µ": "u"})


def table(*columns: str) -> Table:
    """`>` after a column's name sets it to the right, `*` lets its text wrap."""
    made = Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="dim",
    )
    for column in columns:
        wraps = column.endswith("*")
        right = column.endswith(">")
        header = Text(units.printable(column.removesuffix(">").removesuffix("*")).translate(_ASCII))
        made.add_column(
            header, justify="right" if right else "left", no_wrap=not wraps, overflow="fold" if wraps else "ellipsis"
        )
    return made


def text(value: str, console: Console, width: int = 0, style: str = "") -> Text:
    """Text that is shown as it is; with `width`, its middle is left out where it is longer."""
    shown = units.printable(value)
    shown = units.middle(shown, width) if width else shown
    shown = shown.translate(_ASCII)
    if not _is_unicode(console):
        shown = shown.encode(console.encoding, "replace").decode(console.encoding)
    return Text(shown, style=style)


def say(console: Console, sentence: str, style: str = "") -> None:
    """One sentence as it is."""
    console.print(text(sentence, console, style=style), overflow="fold")


def heading(console: Console, title: str) -> None:
    """An empty line and a title."""
    console.print()
    console.print(text(title, console, style="bold"))


def plural(n: int, noun: str) -> str:
    """1 thread, 2 threads."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _is_unicode(console: Console) -> bool:
    return console.encoding.lower().startswith("utf")
