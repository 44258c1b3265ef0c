"""The rungs of the recovery ladder, in the order of their price, and where each starts.

Why they start there: docs/decisions/0010-recovery-ladder.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from compressor.runs.recoveries import FINETUNE, RECOVERIES

CUT = "cut"
STATISTICS = "bn_reestimate"
REPAIRS = ("bias_absorption", STATISTICS, "neuron_merging", "least_squares")  # cheapest first


@dataclass(frozen=True)
class Rung:
    """One recovery, and the name of the rung whose weights it starts with."""

    recovery: str
    start: str  # empty for the cut
    epochs: int = 0  # of training

    @property
    def name(self) -> str:
        """What people call it; no two rungs of a ladder have the same."""
        if self.epochs:
            return f"{self.recovery}, {self.epochs} epoch{'s' if self.epochs > 1 else ''}"
        return self.recovery if self.start in ("", CUT) else f"{self.start} + {self.recovery}"


class Climbed(Protocol):
    """What is known of the rungs that were tried."""

    @property
    def best(self) -> str:
        """Name of the best of them."""

    def applied(self, name: str) -> bool:
        """Whether this one could be applied."""


def rungs(so_far: Climbed, max_epochs: int) -> Iterator[Rung]:
    """One rung after the other; what comes next depends on what is known of those before."""
    has_statistics = False
    for recovery in known_repairs():
        rung = Rung(recovery, so_far.best if recovery == STATISTICS else CUT)
        yield rung
        if recovery == STATISTICS:
            has_statistics = so_far.applied(rung.name)
        elif has_statistics and so_far.applied(rung.name):
            yield Rung(STATISTICS, rung.name)
    for epochs in rounds(max_epochs):
        yield Rung(FINETUNE, so_far.best, epochs)


def known_repairs() -> list[str]:
    """The recoveries without training that the plug-in folder has."""
    present = RECOVERIES.names()
    return [name for name in REPAIRS if name in present]


def rounds(max_epochs: int) -> list[int]:
    """Lengths of the rounds of training: each twice the one before; the last takes what is left over.

    >>> rounds(10), rounds(3), rounds(2), rounds(0)
    ([1, 2, 7], [1, 2], [2], [])
    """
    lengths: list[int] = []
    length, left = 1, max_epochs
    while left > 0:
        rest = left - length
        lengths.append(left if rest < 2 * length else length)
        left -= lengths[-1]
        length *= 2
    return lengths
