"""More threads than the work is worth: they wait for each other, or for cores that others use.

Experiment: the same file with fewer threads, in turns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compressor.core.findings import Finding
from compressor.doctor._case import COSTLY, CannotLook, Case, milliseconds
from compressor.profiling.lab import Arm, Ratio


@dataclass(frozen=True)
class TooManyThreads:
    """Whether one thread, or half of them, are faster."""

    summary: ClassVar[str] = "more threads than the work is worth: fewer are faster"

    def examine(self, case: Case) -> list[Finding]:
        """Races the file against itself with fewer threads."""
        if case.threads == 1:
            raise CannotLook("It runs with one thread.")
        best: tuple[int, Ratio] | None = None
        for fewer in sorted({1, case.threads // 2}):
            ratio = case.lab.race(case.arm, Arm(case.file, fewer), line=COSTLY, waiting=True)
            if ratio.low > COSTLY and (best is None or ratio.value > best[1].value):
                best = fewer, ratio
        if best is None:
            return []
        fewer, ratio = best
        return [
            Finding(
                cause="too_many_threads",
                layer="",
                evidence=f"One inference takes {milliseconds(ratio.first_s)} with {case.threads} threads and "
                f"{milliseconds(ratio.second_s)} with {fewer}.",
                advice=f"Run it with {fewer} thread{'' if fewer == 1 else 's'}: --threads {fewer}.",
                ratio=ratio.value,
                interval=ratio.interval,
                share=1 - 1 / ratio.value,
            )
        ]


PLUGIN = TooManyThreads
