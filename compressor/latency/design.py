"""At which widths a model is timed, so that every layer is seen narrow and wide.

Half of the choices lie along the way that plans go: all groups near one share, from all to little. The others are drawn
for each group by itself, so that a layer's input and output are wide and narrow independently.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

NARROWEST = 0.12  # share of a group's channels
JITTER = 0.25  # of the shares along the way
GOLDEN = 0.618  # its multiples fill an interval evenly, however many are drawn


def choices(grids: Mapping[str, Sequence[int]], seed: int = 0) -> Iterator[dict[str, int]]:
    """Channels per group, endlessly; the same for the same grids and seed. The first keeps everything.

    Args:
        grids: allowed counts of each group, ascending; the last is the whole group.
    """
    generator = random.Random(seed)
    yield {name: grid[-1] for name, grid in grids.items()}
    number = 0
    while True:
        number += 1
        share = NARROWEST + (1 - NARROWEST) * (GOLDEN * number % 1)
        low, high = (share * (1 - JITTER), share * (1 + JITTER)) if number % 2 else (NARROWEST, 1.0)
        yield {name: _nearest(grid, generator.uniform(low, high) * grid[-1]) for name, grid in grids.items()}


def _nearest(grid: Sequence[int], wanted: float) -> int:
    return min(grid, key=lambda allowed: abs(allowed - wanted))
