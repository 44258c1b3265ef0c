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

Multipliers find only what lies on the convex hull of value and cost. Where one group is worth much as a whole (a
residual stream with two widths), the hull jumps over a wide range of limits. So the sweep is made again with that
group held at one end of the jump.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

FEW = 1500  # combinations that are all looked at
STEPS = 40  # of the multiplier
GAP = 0.03  # of the widest choice's cost, between neighbours of the frontier: no multiplier finds what lies inside
MOST_SWEEPS = 8  # more, into gaps
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
        if self._n_combinations() <= FEW:
            self._choices = _undominated(self._all())
        else:
            self._choices = self._without_gaps(_undominated(self._swept({})))

    @property
    def counts(self) -> dict[str, list[int]]:
        """The counts that are chosen from."""
        return {name: candidates.counts.tolist() for name, candidates in self._candidates.items()}

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

    def _without_gaps(self, choices: list[Choice]) -> list[Choice]:
        """The same and what sweeps with one group held find between neighbours that are far apart."""
        held: set[tuple[str, int]] = set()
        while len(held) < MOST_SWEEPS:
            wide = [(a, b) for a, b in itertools.pairwise(choices) if b.cost - a.cost > GAP * choices[-1].cost]
            ends = [end for a, b in sorted(wide, key=_width, reverse=True) for end in self._holding(a, b)]
            options = [end for end in ends if end not in held]
            if not options:
                break
            held.add(options[0])
            choices = _undominated([*choices, *self._swept(dict(options[:1]))])
        return choices

    def _holding(self, below: Choice, above: Choice) -> list[tuple[str, int]]:
        """The group that is worth most between two choices, at either end: [(group, place)]."""
        worth = {}
        for name, candidates in self._candidates.items():
            ends = [int(np.searchsorted(candidates.counts, each.n_keep[name])) for each in (below, above)]
            if ends[0] != ends[1]:
                worth[name] = abs(float(candidates.values[ends[1]] - candidates.values[ends[0]])), ends
        if not worth:
            return []
        name = max(worth, key=lambda each: worth[each][0])
        return [(name, place) for place in worth[name][1]]

    def _swept(self, held: Mapping[str, int]) -> list[Choice]:
        """All that the multipliers find, with some groups at places of their own."""
        widest = {name: held.get(name, len(each.counts) - 1) for name, each in self._candidates.items()}
        narrowest = {name: held.get(name, 0) for name in widest}
        multipliers = self._multipliers(widest, narrowest)
        found: list[Choice] = []
        for places, order in ((widest, multipliers), (narrowest, multipliers[::-1])):
            found.append(self._choice(places))
            for multiplier in order:
                settled = self._settled(places, float(multiplier), held)
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

    def _settled(self, places: Mapping[str, int], multiplier: float, held: Mapping[str, int]) -> dict[str, int]:
        """No move of one group alone makes value - multiplier * cost larger; of equals the wider."""
        places = dict(places)
        n_keep = {name: int(self._candidates[name].counts[place]) for name, place in places.items()}
        for _ in range(SWEEPS):
            moved = False
            for name, candidates in self._candidates.items():
                if name in held:
                    continue
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
        """Choices between two: always the move next that saves most for what it loses, then those that gain most."""
        places = dict(start)
        n_keep = self._choice(places).n_keep
        waiting = [self._move(name, places, end, n_keep) for name in places if places[name] != end[name]]
        heapq.heapify(waiting)
        found = []
        while waiting:
            name = heapq.heappop(waiting).group
            move = self._move(name, places, end, n_keep)  # others have moved since
            if waiting and waiting[0] < move:
                heapq.heappush(waiting, move)
                continue
            step = 1 if move.place > places[name] else -1
            for place in range(places[name] + step, move.place + step, step):
                places[name] = place
                found.append(self._choice(places))
            n_keep[name] = int(self._candidates[name].counts[move.place])
            if move.place != end[name]:
                heapq.heappush(waiting, self._move(name, places, end, n_keep))
        return found

    def _move(self, name: str, places: Mapping[str, int], end: Mapping[str, int], n_keep: Mapping[str, int]) -> _Move:
        """The best move of one group towards its end, over as many steps as are worth most together."""
        candidates, here = self._candidates[name], places[name]
        wider = end[name] > here
        stops = np.arange(here + 1, end[name] + 1) if wider else np.arange(here - 1, end[name] - 1, -1)
        costs = self._cost.alternatives(n_keep, name, candidates.counts[[here, *stops]])
        value = np.abs(candidates.values[stops] - candidates.values[here])
        # What narrowing saves or widening costs; a wider model that costs no more is free.
        useful = np.maximum(costs[1:] - costs[0], 0) if wider else np.maximum(costs[0] - costs[1:], 0)
        over, under = (value, useful) if wider else (useful, value)
        with np.errstate(divide="ignore", invalid="ignore"):
            rates = np.where(over > 0, over / under, 0.0)
        best = int(np.argmax(rates))
        return _Move(wider, -float(rates[best]), name, int(stops[best]))


def _undominated(found: Iterable[Choice]) -> list[Choice]:
    """By cost, each worth more than those that cost less."""
    kept: list[Choice] = []
    for choice in sorted(found, key=lambda c: (c.cost, -c.value)):
        if not kept or choice.value > kept[-1].value:
            kept.append(choice)
    return kept


def _width(pair: tuple[Choice, Choice]) -> float:
    return pair[1].cost - pair[0].cost


@dataclass(frozen=True, order=True)
class _Move:
    """Ordered by urgency: groups that get narrower first, then by rate."""

    wider: bool
    minus_rate: float  # saved for what is lost, or gained for what it costs
    group: str
    place: int


def without_dominated(candidates: Candidates, costs: Sequence[float], same: float = 0.0) -> Candidates:
    """Without counts that cost as much as a wider one: nobody would choose them. The widest always stays.

    Args:
        candidates: of one group.
        costs: of each of its counts.
        same: costs that differ by no more are equal.
    """
    keep, cheapest = [], math.inf
    for place in range(len(candidates.counts) - 1, -1, -1):
        if costs[place] < cheapest - same:
            keep.append(place)
            cheapest = costs[place]
    return Candidates(candidates.counts[keep[::-1]], candidates.values[keep[::-1]])
