"""How long work tells that it is alive, without knowing who listens.

Stages take a `Progress` and never print. The command line passes one that draws bars or writes lines; everybody else
gets `SilentProgress`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Step(Protocol):
    """One piece of work that is under way."""

    def advance(self, n: float = 1.0, note: str = "") -> None:
        """`n` more of the total is done; `note` is shown beside the bar (a loss, a file name)."""


class Progress(Protocol):
    """Receives what a run wants people to see while it works."""

    def step(self, title: str, total: float | None = None) -> AbstractContextManager[Step]:
        """Opens a step; `total` None means that its length is unknown."""

    def note(self, sentence: str) -> None:
        """One line that people should read: a default chosen, a group set aside."""

    def measured(self, title: str, step: int, values: Mapping[str, float]) -> None:
        """Numbers of a long piece of work, for whoever draws curves; `title` is its step's, `step` counts from 1."""


class _SilentStep:
    def advance(self, n: float = 1.0, note: str = "") -> None:
        return None


class SilentProgress:
    """Says nothing."""

    @contextmanager
    def step(self, title: str, total: float | None = None) -> Iterator[Step]:
        """Opens a step that nobody sees."""
        yield _SilentStep()

    def note(self, sentence: str) -> None:
        """Drops the sentence."""

    def measured(self, title: str, step: int, values: Mapping[str, float]) -> None:
        """Drops the numbers."""
