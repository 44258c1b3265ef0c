"""At which widths a model is timed, so that every layer is seen narrow and wide, and steps between widths show.

Half of the choices lie along the way that plans go: all groups near one share, from all to little. The others are drawn
for each group by itself, so that a layer's input and output are wide and narrow independently. Counts lie on the grid
that plans use, but for one choice in five: there a third of them lies beside it, so that a runtime that prefers
blocks is found out. (Not in more: beside the grid a runtime may fuse less, and its graph is another one.)
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

NARROWEST = 0.12  # share of a group's channels
JITTER = 0.25  # of the shares along the way
EVERY, BESIDE = 5, 1 / 3  # of the choices; of their counts


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
        along = number % 2 == 1
        # The golden ratio's multiples fill the interval evenly, however many are drawn.
        share = NARROWEST + (1 - NARROWEST) * (0.382 + 0.618 * number) % 1
        beside = BESIDE if number % EVERY == 0 else 0.0
        yield {name: _count(grid, share if along else None, beside, generator) for name, grid in grids.items()}


def _count(grid: Sequence[int], share: float | None, beside: float, generator: random.Random) -> int:
    whole = grid[-1]
    low, high = (NARROWEST, 1.0) if share is None else (share * (1 - JITTER), share * (1 + JITTER))
    wanted = generator.uniform(low, high) * whole
    count = min(grid, key=lambda allowed: abs(allowed - wanted))
    if generator.random() < beside:
        count = max(min(2, whole), min(whole, count - generator.randint(0, max(1, grid[0]))))
    return count
