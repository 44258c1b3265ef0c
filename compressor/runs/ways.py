"""The two ways from a share of what there was to widths: of measured time, and of the multiply-accumulates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np

from compressor.planning.budget import Budget
from compressor.planning.frontier import Choice
from compressor.planning.planner import Planner
from compressor.planning.seek import AIM
from compressor.planning.widths import Widths
from compressor.report.schema import TableRow
from compressor.runs.bench import Bench
from compressor.runs.elastic import narrowed
from compressor.runs.folder import RunFolder
from compressor.runs.record import Record
from compressor.runs.sensitivity import Opinions
from compressor.runs.tables import Slowest, TimePlans, frontier_of, time_plans

LEVELS = 49  # of plans that fall together
NARROWEST = 1e-9  # of the MACs: less than any model has
Files = Mapping[str, tuple[Path, Path]]  # by target: the original's and the small model's


class Ways(Protocol):
    """From a share to widths, and to files of them."""

    name: str
    tables: tuple[TableRow, ...]

    @property
    def narrowest(self) -> float:
        """The least share that there can be."""

    def first(self, whole_speed: float) -> float:
        """The share to try first, where the original has this speed in units of what was asked for."""

    def widths(self, share: float) -> tuple[float, Widths]:
        """The widths with at most this share, or the narrowest; and their own share."""

    def files(self, widths: Widths) -> AbstractContextManager[Files]:
        """Files to time, for as long as they are needed."""

    def predicted(self, target: str, widths: Widths) -> float | None:
        """How many times as fast as with all channels tables promise it to be on one target; None without tables."""


def ways_to_widths(record: Record, planner: Planner, bench: Bench, folder: RunFolder, opinions: Opinions) -> Ways:
    """By measured time where every target's tables can be made; else by multiply-accumulates, with a note."""
    plans = time_plans(record, planner, bench, folder, opinions.first)
    return ByMacs(record, planner, bench) if plans is None else ByTime(planner, plans, folder, opinions)


class ByTime:
    """Plans of the frontier; their files are written without exporting anything."""

    name = "in-time"

    def __init__(self, planner: Planner, plans: TimePlans, folder: RunFolder, opinions: Opinions) -> None:
        self._planner, self._plans, self._folder, self._opinions = planner, plans, folder, opinions
        others = [frontier_of(plans.models, plans.counts, worth) for worth in opinions.others()]
        self._frontiers = (plans.frontier, *others)
        # Where nobody can judge between plans, there is one opinion.
        self._together = self._falling_together() if others else []
        self._damage: dict[tuple[int, ...], float] = {}
        self.tables = plans.rows

    @property
    def narrowest(self) -> float:
        """Share of the time on the target that gains least."""
        return self._plans.frontier.narrowest.cost

    def first(self, whole_speed: float) -> float:
        """Tables promise what they measured, so the aim is tried at once."""
        return whole_speed / AIM

    def widths(self, share: float) -> tuple[float, Widths]:
        """Worth most within the time; where opinions differ, the plan that is found to do least damage."""
        offered = [choice for frontier in self._frontiers if (choice := frontier.best(share)) is not None]
        offered += [choice for choice in self._together if choice.cost <= share][-1:]
        different = {tuple(choice.n_keep.values()): choice for choice in offered or [self._plans.frontier.narrowest]}
        choice = next(iter(different.values()))
        if len(different) > 1:
            choice = min(different.values(), key=self._damage_of)
        return choice.cost, self._planner.widths_of(choice.n_keep)

    def _falling_together(self) -> list[Choice]:
        """Plans that go by no judgement but the allocation, by their share of the multiply-accumulates."""
        planner, cost = self._planner, Slowest(list(self._plans.models.values()))
        planner.allow(self._plans.allowed)
        found = [planner.widths(Budget("macs", float(share))) for share in np.linspace(0.02, 0.98, LEVELS)]
        found.append(planner.widths_of({group.name: group.n_channels for group in planner.groups}))
        return [Choice(widths.n_keep, widths.remaining, cost.whole(widths.n_keep)) for widths in found]

    def _damage_of(self, choice: Choice) -> float:
        key = tuple(choice.n_keep.values())
        if key not in self._damage:
            self._damage[key] = self._opinions.damage(choice.n_keep)
        return self._damage[key]

    @contextmanager
    def files(self, widths: Widths) -> Iterator[Files]:
        """ONNX files for every target; the original's is its own."""
        self._folder.work.mkdir(parents=True, exist_ok=True)
        path = self._plans.write(self._folder.work / "timed.onnx", widths.n_keep)
        try:
            yield dict.fromkeys(self._plans.models, (self._plans.whole, path))
        finally:
            path.unlink(missing_ok=True)

    def predicted(self, target: str, widths: Widths) -> float | None:
        """By the target's tables."""
        model = self._plans.models[target]
        return model.whole({}) / model.whole(widths.n_keep)


class ByMacs:
    """Widths that fall together, as --allocation says; every model that is timed is exported."""

    name = "by-macs"
    tables: tuple[TableRow, ...] = ()

    def __init__(self, record: Record, planner: Planner, bench: Bench) -> None:
        self._record, self._planner, self._bench = record, planner, bench

    @property
    def narrowest(self) -> float:
        """Share of the multiply-accumulates."""
        return self._planner.widths(Budget("macs", NARROWEST)).remaining

    def first(self, whole_speed: float) -> float:
        """As if time were multiply-accumulates."""
        return whole_speed

    def widths(self, share: float) -> tuple[float, Widths]:
        """As a budget of multiply-accumulates would have them."""
        widths = self._planner.widths(Budget("macs", share))
        return widths.remaining, widths

    def files(self, widths: Widths) -> AbstractContextManager[Files]:
        """Exported."""
        return self._bench.files_of(narrowed(self._record, widths.n_keep))

    def predicted(self, target: str, widths: Widths) -> None:
        """Multiply-accumulates promise nothing."""
        return None
