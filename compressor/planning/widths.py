"""Finds the channel count of every group so that the budget is met as closely as the grids allow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from compressor.core.groups import ChannelGroup
from compressor.planning.allocate import Allocation
from compressor.planning.budget import TOLERANCE
from compressor.planning.rounding import Grid, Listed

# No group falls below a tenth unless the budget cannot be met otherwise: the last channels cost accuracy, save little.
FLOOR = 0.1
STEPS = 40  # halvings of the level; 2^-40 is finer than any channel


@dataclass(frozen=True)
class Widths:
    """Channels kept per group, the share of the budget's unit that remains, and why it is not the one asked for."""

    n_keep: dict[str, int]
    remaining: float
    met: bool  # what remains is at most what may
    shortfall: str = ""  # also where it is met, but from farther below than people expect


def solve(
    groups: Sequence[ChannelGroup],
    grids: Mapping[str, Grid | Listed],
    allocation: Allocation,
    remaining: Callable[[Mapping[str, int]], float],
    target: float,
) -> Widths:
    """The widest counts that leave at most `target`, from a bisection on the level and then single steps upwards.

    Rounding moves each group by up to half a step. The groups that rounding robbed most get their step back first,
    as long as the budget holds.

    Args:
        groups: those that may lose channels.
        grids: allowed counts.
        allocation: wanted counts at a level.
        remaining: share that remains at given counts.
        target: share that may remain.
    """
    for floor in (FLOOR, 0.0):
        least = {g.name: grids[g.name].nearest(g.n_channels * floor) for g in groups}

        def counts(level: float, least: Mapping[str, int] = least) -> dict[str, int]:
            wanted = allocation(level)
            return {g.name: max(least[g.name], grids[g.name].nearest(wanted[g.name])) for g in groups}

        if remaining(counts(1.0)) <= target:
            found = _refine(groups, grids, allocation, remaining, target, counts)
            share = remaining(found)
            return Widths(found, share, True, _too_coarse(share, target))
    narrowest = counts(1.0)
    share = remaining(narrowest)
    return Widths(narrowest, share, False, f"the narrowest model that the graph and --round-to allow keeps {share:.1%}")


def _refine(
    groups: Sequence[ChannelGroup],
    grids: Mapping[str, Grid | Listed],
    allocation: Allocation,
    remaining: Callable[[Mapping[str, int]], float],
    target: float,
    counts: Callable[[float], dict[str, int]],
) -> dict[str, int]:
    low, high = 0.0, 1.0  # `high` always meets the budget
    for _ in range(STEPS):
        middle = (low + high) / 2
        if remaining(counts(middle)) <= target:
            high = middle
        else:
            low = middle
    found, wanted = counts(high), allocation(high)
    open_groups = {g.name for g in groups}
    while open_groups:
        name = max(open_groups, key=lambda n: ((wanted[n] - found[n]) / grids[n].step, n))
        wider = {**found, name: grids[name].above(found[name])}
        if wider[name] == found[name] or remaining(wider) > target:
            open_groups.remove(name)
        else:
            found = wider
            if remaining(found) >= target * (1 - TOLERANCE / 4):
                break
    return found


def _too_coarse(share: float, target: float) -> str:
    if share >= target * (1 - TOLERANCE):
        return ""
    return f"the widths' steps are too coarse to come nearer than {share:.1%}; a smaller --round-to allows it"
