"""Which choices are made, in which order, and how long the rest will take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from compressor.runs.choose import METHODS
from method_parts import rival
from method_parts.cells import Choice, Chosen, Dense, Repaired, chosen_path, read, repaired_path
from method_parts.ours import natural_allocation
from method_parts.repairs import NONE, steps_of
from method_parts.subject import ALLOCATIONS

NATURAL = "natural"
IN_EVERY_ALLOCATION = ("l1",)  # the others' natural one says enough of them
RIVAL_CHAINS = (NONE, "bn_reestimate")


@dataclass(frozen=True)
class Request:
    """What the benchmark is asked for."""

    models: Sequence[str]
    methods: Sequence[str]
    budgets: Sequence[float]
    allocations: Sequence[str]  # NATURAL, or names
    seeds: Sequence[int]
    chains: Sequence[str]
    n_images: int

    def chains_of(self, choice: Choice) -> list[str]:
        """The repairs of one choice; torch-pruning gets the one that needs nothing but the model."""
        return [chain for chain in self.chains if not is_rival(choice) or chain in RIVAL_CHAINS]


def is_rival(choice: Choice) -> bool:
    """Whether torch-pruning makes it."""
    return choice.method.startswith(rival.PREFIX)


def all_methods() -> list[str]:
    """Ours, then torch-pruning's."""
    return [*METHODS.names(), *(rival.PREFIX + name for name in rival.CRITERIA)]


def choices(request: Request) -> list[Choice]:
    """All of them; every method with the first seed before any with the next, so that it may be stopped early."""
    return [
        Choice(model, method, allocation, budget, seed)
        for number, seed in enumerate(request.seeds)
        for budget in request.budgets
        for model in request.models
        for method in request.methods
        for allocation in _allocations(request, method)
        if number == 0 or not method.startswith(rival.PREFIX)  # nothing in it depends on the seed
    ]


def _allocations(request: Request, method: str) -> Sequence[str]:
    if method.startswith(rival.PREFIX):
        return rival.ALLOCATIONS
    if list(request.allocations) != [NATURAL]:
        return request.allocations
    return ALLOCATIONS if method in IN_EVERY_ALLOCATION else (natural_allocation(method),)


@dataclass
class Remaining:
    """The choices that are not finished, and an estimate of what they will take, from what has been measured."""

    request: Request
    work: Path
    dense: Mapping[str, Dense]
    _choosing: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    _repairing: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        for choice in choices(self.request):
            self.note(choice)

    def note(self, choice: Choice) -> None:
        """Learns from the files of this choice."""
        chosen = read(Chosen, chosen_path(choice, self.work))
        if chosen is not None:
            self._choosing[choice.model, choice.method].append(chosen.seconds)
        for chain in self.request.chains_of(choice):
            done = self.repaired(choice, chain)
            if done is not None:
                self._repairing[choice.model, chain].append(done.repair_s + done.evaluation_s)

    def repaired(self, choice: Choice, chain: str) -> Repaired | None:
        """What is known of one cell."""
        return read(Repaired, repaired_path(choice, chain, self.request.n_images, self.work))

    def chains(self, choice: Choice) -> list[str]:
        """What is still to be measured of this choice."""
        chosen = read(Chosen, chosen_path(choice, self.work))
        if chosen is not None and (chosen.failure or chosen.same_as_seed is not None):
            return []
        return [chain for chain in self.request.chains_of(choice) if self.repaired(choice, chain) is None]

    def waiting(self, candidates: Iterable[Choice]) -> list[Choice]:
        """Those that are not finished."""
        return [choice for choice in candidates if self.chains(choice)]

    def seconds(self, waiting: Iterable[Choice]) -> float:
        """What they will take; of what was never measured, as long as a few evaluations of the whole model."""
        total = 0.0
        for choice in waiting:
            whole = self.dense[choice.model].evaluation_s
            known = self._choosing.get((choice.model, choice.method))
            total += fmean(known) if known else whole
            for chain in self.chains(choice):
                times = self._repairing.get((choice.model, chain))
                total += fmean(times) if times else whole * (choice.budget + len(steps_of(chain)))
        return total
