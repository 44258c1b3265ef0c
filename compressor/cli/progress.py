"""Bars in a terminal, plain lines elsewhere; always on standard error, so that results can be piped."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

LINE_EVERY_S = 10.0


def stdout_console() -> Console:
    """For results: as wide as the terminal, or as COLUMNS says; 80 columns where there is neither."""
    return Console(highlight=False)


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Standard output is for results: what the user's model or a library prints meanwhile goes to standard error."""
    sys.stdout.flush()
    results = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(results, 1)
        os.close(results)


class ConsoleProgress:
    """Implements `compressor.core.progress.Progress` for people, while it is entered."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.console = Console(stderr=True, highlight=False, quiet=quiet, soft_wrap=True)
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            _TimeLeft(compact=True),
            TextColumn("[dim]{task.fields[note]}"),
            console=self.console,
            transient=True,
            disable=quiet or not self.console.is_terminal,
        )
        self.others = stdout_to_stderr()

    def __enter__(self) -> ConsoleProgress:
        self.others.__enter__()
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()
        self.others.__exit__(kind, error, trace)

    @contextmanager
    def step(self, title: str, total: float | None = None) -> Iterator[_Bar | _Lines]:
        """A bar, or lines at the start, every ten seconds and at the end."""
        title = title[:1].upper() + title[1:]
        started = time.monotonic()
        if self.bars.disable:
            lines = _Lines(self.console, title, total)
            yield lines
            lines.finish()
            return
        task = self.bars.add_task(escape(title), total=total, note="")
        try:
            yield _Bar(self.bars, task)
        finally:
            self.bars.remove_task(task)
        seconds = time.monotonic() - started
        if seconds >= 2:
            self.console.print(f"[dim]{escape(title)}: {seconds:.0f} s[/dim]")

    def note(self, sentence: str) -> None:
        """One line."""
        self.console.print(escape(sentence))

    def measured(self, title: str, step: int, values: Mapping[str, float]) -> None:
        """The bar's note says as much as fits a line."""


class _TimeLeft(TimeRemainingColumn):
    """Where it can be known."""

    def render(self, task: Task) -> Text:
        known = task.total is not None and task.time_remaining is not None
        return Text.assemble(super().render(task), (" left", "dim")) if known else Text()


class _Bar:
    def __init__(self, bars: Progress, task: TaskID) -> None:
        self.bars, self.task = bars, task

    def advance(self, n: float = 1.0, note: str = "") -> None:
        """Moves the bar."""
        self.bars.update(self.task, advance=n, note=escape(note))


class _Lines:
    def __init__(self, console: Console, title: str, total: float | None) -> None:
        self.console, self.title, self.total = console, title, total
        self.done, self.note = 0.0, ""
        self.started = self.last = time.monotonic()
        console.print(f"{escape(title)} ...")

    def advance(self, n: float = 1.0, note: str = "") -> None:
        """Counts, and says a line every ten seconds."""
        self.done += n
        self.note = note or self.note
        now = time.monotonic()
        if now - self.last >= LINE_EVERY_S:
            self.last = now
            self.console.print(escape(f"{self.title}:{self._share(now)} {self.note}".rstrip(" ,")))

    def _share(self, now: float) -> str:
        """How much is done, and how long the rest will take."""
        if not self.total or not self.done:
            return ""
        left_s = (now - self.started) * max(0.0, self.total / self.done - 1)
        left = f"{left_s / 60:.0f} min" if left_s >= 100 else f"{left_s:.0f} s"
        return f" {self.done / self.total:.0%}, about {left} left,"

    def finish(self) -> None:
        """Says how long it took, if it took long."""
        seconds = time.monotonic() - self.started
        if seconds >= 2:
            self.console.print(escape(f"{self.title}: done in {seconds:.0f} s"))
