"""The widths that keep most importance at every cost: a multiple-choice knapsack whose costs depend on each other.

A layer's time depends on the widths of the groups that it reads and of the group that it makes, so widths are chosen
together. Each group g has a few counts k, each worth V_g(k); the cost T of all counts is any function. Wanted, for a
limit B:

    maximise  sum over g of V_g(k_g)   subject to   T(k) <= B

A sweep over the multiplier m of  V - m T  (HALP's problem, arXiv 2210.06659, solved by Lagrange's method with moves of
one group at a time, which see the costs of all layers that a group touches). All choices that the sweep meets, and
those on the way from each to the next, are kept, whatever the limit is. So the choice for a limit is the best of the
same set for every limit: it never costs more than the limit, and a larger limit never keeps less. Where there are few
combinations, the set is all of them, and the choice exact.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

FEW = 1500  # combinations that are all looked at
STEPS = 40  # of the multiplier
SWEEPS = 6  # over all groups at one multiplier; most settle in two or three


@dataclass(frozen=True)
class Candidates:
    """Counts of one group, ascending, and what each is worth, not falling."""

    counts: np.ndarray
    values: np.ndarray


class Cost(Protocol):
    """Of all widths together; any unit."""

    def whole(self, n_keep: Mapping[str, int]) -> float:
        """What these counts cost."""

    def alternatives(self, n_keep: Mapping[str, int], group: str, counts: np.ndarray) -> np.ndarray:
        """What they cost with one group at each of `counts`, but for a constant."""


@dataclass(frozen=True)
class Choice:
    """Counts of all groups."""

    n_keep: dict[str, int]
    value: float
    cost: float


class Frontier:
    """Worked out once; then asked for any limit."""

    def __init__(self, candidates: Mapping[str, Candidates], cost: Cost) -> None:
        self._candidates, self._cost = candidates, cost
        found = self._all() if self._n_combinations() <= FEW else self._swept()
        self._choices: list[Choice] = []  # by cost, each worth more than those that cost less
        for choice in sorted(found, key=lambda c: (c.cost, -c.value)):
            if not self._choices or choice.value > self._choices[-1].value:
                self._choices.append(choice)

    @property
    def narrowest(self) -> Choice:
        """The choice that costs least."""
        return self._choices[0]

    def best(self, limit: float) -> Choice | None:
        """The choice worth most that costs at most `limit`; None where nothing is that cheap."""
        place = bisect.bisect_right(self._choices, limit, key=lambda choice: choice.cost)
        return self._choices[place - 1] if place else None

    def _n_combinations(self) -> int:
        return math.prod(len(candidates.counts) for candidates in self._candidates.values())

    def _all(self) -> list[Choice]:
        names = list(self._candidates)
        ranges = [range(len(self._candidates[name].counts)) for name in names]
        return [self._choice(dict(zip(names, places, strict=True))) for places in itertools.product(*ranges)]

    def _choice(self, places: Mapping[str, int]) -> Choice:
        n_keep = {name: int(self._candidates[name].counts[place]) for name, place in places.items()}
        value = sum(float(self._candidates[name].values[place]) for name, place in places.items())
        return Choice(n_keep, value, self._cost.whole(n_keep))

    def _swept(self) -> list[Choice]:
        widest = {name: len(candidates.counts) - 1 for name, candidates in self._candidates.items()}
        narrowest = dict.fromkeys(widest, 0)
        multipliers = self._multipliers(widest, narrowest)
        found: list[Choice] = []
        for places, order in ((widest, multipliers), (narrowest, multipliers[::-1])):
            found.append(self._choice(places))
            for multiplier in order:
                settled = self._settled(places, float(multiplier))
                if settled != places:
                    found += self._way(places, settled)
                    places = settled
            end = narrowest if order is multipliers else widest
            found += self._way(places, end)
        return found

    def _multipliers(self, widest: Mapping[str, int], narrowest: Mapping[str, int]) -> np.ndarray:
        """From one at which nothing leaves to one at which nearly all does: value per cost of single moves."""
        rates = []
        for start in (widest, narrowest):
            n_keep = self._choice(start).n_keep
            for name, candidates in self._candidates.items():
                costs = self._cost.alternatives(n_keep, name, candidates.counts)
                saved, lost = costs[1:] - costs[:-1], candidates.values[1:] - candidates.values[:-1]
                rates += [v / c for v, c in zip(lost, saved, strict=True) if c > 0 and v > 0]
        if not rates:
            return np.array([1.0])
        return np.geomspace(min(rates) / 2, max(rates) * 2, STEPS)

    def _settled(self, places: Mapping[str, int], multiplier: float) -> dict[str, int]:
        """No move of one group alone makes value - multiplier * cost larger; of equals the wider."""
        places = dict(places)
        n_keep = {name: int(self._candidates[name].counts[place]) for name, place in places.items()}
        for _ in range(SWEEPS):
            moved = False
            for name, candidates in self._candidates.items():
                costs = self._cost.alternatives(n_keep, name, candidates.counts)
                gain = candidates.values - multiplier * costs
                best = len(gain) - 1 - int(np.argmax(gain[::-1]))
                if best != places[name]:
                    places[name], moved = best, True
                    n_keep[name] = int(candidates.counts[best])
            if not moved:
                break
        return places

    def _way(self, start: Mapping[str, int], end: Mapping[str, int]) -> list[Choice]:
        """Choices between two: groups move one after another, those that save most for what they lose first."""
        places = dict(start)
        open_groups = [name for name in places if places[name] != end[name]]
        n_keep = self._choice(places).n_keep

        def rate(name: str) -> float:
            candidates = self._candidates[name]
            pair = candidates.counts[[places[name], end[name]]]
            before, after = self._cost.alternatives(n_keep, name, pair)
            lost = float(candidates.values[places[name]] - candidates.values[end[name]])
            return (before - after) / lost if lost else math.inf

        found = []
        for name in sorted(open_groups, key=rate, reverse=True):
            step = 1 if end[name] > places[name] else -1
            for place in range(places[name] + step, end[name] + step, step):
                places[name] = place
                found.append(self._choice(places))
        return found


def without_dominated(candidates: Candidates, costs: Sequence[float]) -> Candidates:
    """Without counts that cost as much as a wider one: nobody would choose them. The widest always stays."""
    keep, cheapest = [], math.inf
    for place in range(len(candidates.counts) - 1, -1, -1):
        if costs[place] < cheapest:
            keep.append(place)
            cheapest = costs[place]
    return Candidates(candidates.counts[keep[::-1]], candidates.values[keep[::-1]])
