"""Curves of training: whoever `--track` names is told the numbers that people see beside the bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from compressor.core.plugins import PluginFolder
from compressor.core.progress import Progress, Step
from compressor.training.protocols import Tracker

TRACKERS = PluginFolder("compressor.training.trackers", "tracker")
CURVES = "curves"  # the folder in the run folder


@contextmanager
def tracked(names: Sequence[str], folder: Path, progress: Progress) -> Iterator[Progress]:
    """A progress that also tells the trackers; it is `progress` itself where none is named.

    Raises:
        UnknownPlugin, MissingDependency, OutputError: a tracker cannot be used.
    """
    if not names:
        yield progress
        return
    trackers = [TRACKERS.load(name)(folder) for name in dict.fromkeys(names)]
    for tracker in trackers:
        progress.note(f"Curves of training: {tracker.hint}")
    told = _Tracked(progress, trackers)
    finished = False
    try:
        yield told
        finished = True
    finally:
        told.close(finished)


class _Tracked:
    """A training whose steps begin again (a further round of a ladder) gets a number behind its title."""

    def __init__(self, progress: Progress, trackers: Sequence[Tracker]) -> None:
        self._progress, self._trackers = progress, list(trackers)
        self._last: dict[str, tuple[int, int]] = {}  # title -> round and step

    def step(self, title: str, total: float | None = None) -> AbstractContextManager[Step]:
        return self._progress.step(title, total)

    def note(self, sentence: str) -> None:
        self._progress.note(sentence)

    def measured(self, title: str, step: int, values: Mapping[str, float]) -> None:
        self._progress.measured(title, step, values)
        number, last = self._last.get(title, (1, 0))
        number += step < last
        self._last[title] = number, step
        name = title if number == 1 else f"{title} {number}"
        for tracker in list(self._trackers):
            self._guarded(tracker, partial(tracker.log, name, step, values))

    def close(self, finished: bool) -> None:
        """Everything that was told is written."""
        for tracker in list(self._trackers):
            self._guarded(tracker, partial(tracker.close, finished))

    def _guarded(self, tracker: Tracker, act: Callable[[], None]) -> None:
        """Curves that cannot be written are no reason to lose a training."""
        try:
            act()
        except Exception as error:
            self._trackers.remove(tracker)
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            self._progress.note(f"{type(tracker).__name__}: curves are not kept any longer: {reason}")
