"""The recovery ladder of --max-drop: rung after rung, each measured, until the drop is small enough; the best stays.

A killed run goes on after the last rung that was finished, and in the middle of training from its checkpoint.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from compressor.core.errors import DataError, InvalidOption, UnsupportedModel
from compressor.core.options import MAX_EPOCHS, RunOptions
from compressor.report.schema import AccuracyRow, Ladder, RungRow, StageRow
from compressor.runs.datasets import Datasets
from compressor.runs.estimate import largest_budget
from compressor.runs.folder import RunFolder
from compressor.runs.meter import ACCURACY, Meter
from compressor.runs.processes import is_main_process, same_for_all
from compressor.runs.record import Record
from compressor.runs.recoveries import FINETUNE, RECOVERIES, context_of, tuning_options
from compressor.runs.rungs import CUT, Rung, known_repairs, rungs
from compressor.runs.saved import load_weights, save_weights

# Of one rung, these are no reason to give up the others.
NOT_HERE = (UnsupportedModel, DataError, InvalidOption)
EQUAL_POINTS = 1e-9  # percentages are quotients of counts, and a drop of exactly the allowed one is allowed


def climb(record: Record, small: nn.Module, data: Datasets, folder: RunFolder) -> None:
    """Leaves the best weights in `small`, and in the record what each rung bought and cost.

    Raises:
        UnsupportedModel, DataError: the models cannot be measured on the images.
    """
    climber = _Climber(record, small, data, folder)
    _note_on_resolution(record, climber.meter)
    climber.attempt(Rung(CUT, ""))
    for rung in rungs(climber, max_epochs_of(record.options)):
        if climber.reached:
            break
        climber.attempt(rung)
    climber.finish()


def check_rungs(options: RunOptions) -> None:
    """The options that training takes fit; before any work is done.

    Raises:
        InvalidOption: one does not.
    """
    if options.max_drop is not None:
        _make(Rung(FINETUNE, CUT, max(1, max_epochs_of(options))), options)
        for name in known_repairs():
            RECOVERIES.load(name)


def max_epochs_of(options: RunOptions) -> int:
    """How long a ladder may train, in all."""
    return MAX_EPOCHS if options.max_epochs is None else options.max_epochs


@dataclass(frozen=True)
class Attempt:
    """What the folder remembers of a rung, beside its weights."""

    name: str
    start: str
    percent: float | None  # None: it was not applied
    seconds: float
    facts: dict[str, float | int | str | None] = field(default_factory=dict)
    reason: str = ""


class _Climber:
    """The rungs tried so far; their weights lie in the run folder."""

    def __init__(self, record: Record, small: nn.Module, data: Datasets, folder: RunFolder) -> None:
        self.record, self.small, self.data, self.folder = record, small, data, folder
        self.meter = Meter.of(record, data, folder)
        self.attempts: dict[str, Attempt] = {}

    @property
    def best(self) -> str:
        """Name of the rung with the highest percentage; of equal ones the cheapest."""
        return max(self.attempts.values(), key=lambda attempt: -1 if attempt.percent is None else attempt.percent).name

    def applied(self, name: str) -> bool:
        """Whether the rung has weights of its own."""
        return self.attempts[name].percent is not None

    @property
    def drop(self) -> float:
        """Points of the best below the original."""
        return self.meter.original_percent - (self.attempts[self.best].percent or 0.0)

    @property
    def reached(self) -> bool:
        """Whether that is as little as was asked for."""
        allowed = self.record.options.max_drop
        return allowed is not None and self.drop <= allowed + EQUAL_POINTS

    def attempt(self, rung: Rung) -> None:
        """Tries one rung, or reads back what it gave."""
        made = self.folder.remember(f"ladder-{len(self.attempts)}", Attempt, lambda: self._try(rung))
        attempt = same_for_all(made, self.record.device)
        self.attempts[rung.name] = attempt
        if rung.recovery != CUT:
            self.record.stages.append(StageRow(attempt.name, attempt.seconds, attempt.facts))
        self.record.progress.note(self._told(attempt))

    def finish(self) -> None:
        """Leaves the best weights in the model, and the ladder in the record."""
        record, best = self.record, self.best
        load_weights(self.small, self._weights(best))
        path = self._path(best)
        record.ladder = Ladder(
            measure=self.meter.measure,
            original_percent=self.meter.original_percent,
            n_images=len(self.meter.images),
            max_drop_points=record.options.max_drop or 0.0,
            max_epochs=max_epochs_of(record.options),
            drop_points=self.drop,
            reached=self.reached,
            rungs=self._rows(path),
            largest_budget={} if self.reached else largest_budget(record, self.drop),
        )
        if self.meter.measure == ACCURACY:
            steps = {"dense": self.meter.original_percent} | {name: self.attempts[name].percent for name in path}
            rows = [AccuracyRow(name, p, len(self.meter.images)) for name, p in steps.items() if p is not None]
            record.accuracy += rows

    def _try(self, rung: Rung) -> Attempt:
        begin = time.perf_counter()
        facts: dict[str, Any] = {}
        reason = ""
        if rung.recovery != CUT:
            load_weights(self.small, self._weights(rung.start))
            before = {name: tensor.clone() for name, tensor in self.small.state_dict().items()}
            try:
                facts = _make(rung, self.record.options).apply(self._context(rung), self.record.progress)
            except NOT_HERE as error:
                reason = str(error)
            else:
                after = self.small.state_dict()
                if all(torch.equal(tensor, after[name]) for name, tensor in before.items()):
                    reason = str(facts.get("skipped", "it changes nothing here"))
        seconds = time.perf_counter() - begin
        if reason:
            return Attempt(rung.name, rung.start, None, seconds, facts, reason)
        if is_main_process():
            path = self._weights(rung.name)
            partial = path.with_suffix(".partial")
            save_weights(self.small, partial)
            partial.replace(path)
        return Attempt(rung.name, rung.start, self.meter.percent(self.small), seconds, facts)

    def _context(self, rung: Rung) -> Any:
        number = len(self.attempts)
        seed = self.record.options.seed + (number if rung.epochs else 0)  # no round repeats another's batches
        return context_of(self.record, self.small, self.data, self.folder.work / f"checkpoints-ladder-{number}", seed)

    def _weights(self, name: str) -> Path:
        number = list(self.attempts).index(name) if name in self.attempts else len(self.attempts)
        return self.folder.work / f"ladder-{number}.safetensors"

    def _path(self, name: str) -> list[str]:
        """The rungs that lead from the cut to this one."""
        path = [name]
        while start := self.attempts[path[0]].start:
            path.insert(0, start)
        return path

    def _rows(self, path: list[str]) -> tuple[RungRow, ...]:
        rows: list[RungRow] = []
        best = -math.inf
        for attempt in self.attempts.values():
            percent = attempt.percent
            bought = percent - best if percent is not None and rows else None  # the cut, the first, buys nothing
            kept = attempt.name in path
            rows.append(
                RungRow(attempt.name, attempt.start, percent, bought, attempt.seconds, kept, reason=attempt.reason)
            )
            best = best if percent is None else max(best, percent)
        return tuple(rows)

    def _told(self, attempt: Attempt) -> str:
        if attempt.percent is None:
            return f"{attempt.name}: not applied: {attempt.reason}"
        below = self.meter.original_percent - attempt.percent
        side = "below" if below >= 0 else "above"
        stage = "after the cut" if attempt.name == CUT else attempt.name
        return (
            f"{stage}: {attempt.percent:.2f} % {self.meter.measure} on {len(self.meter.images)} images, "
            f"{abs(below):.2f} points {side} the original"
        )


def _note_on_resolution(record: Record, meter: Meter) -> None:
    n_images, allowed = len(meter.images), record.options.max_drop
    if allowed and allowed < 100 / n_images:
        record.note(
            f"One of the {n_images} images that are measured on is {100 / n_images:.2g} points, more than --max-drop "
            f"{allowed:g} allows: none may be lost. Give more images with --val."
        )


def _make(rung: Rung, options: RunOptions) -> Any:
    kind = RECOVERIES.load(rung.recovery)
    return kind(**tuning_options(options, rung.epochs)) if rung.recovery == FINETUNE else kind()
