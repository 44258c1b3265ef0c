"""From files to rows: one a model, method, allocation and budget, with the accuracies of all seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, median

from compressor.runs.choose import METHODS
from method_parts import rival
from method_parts.cells import Choice, Chosen, Repaired, chosen_path, read, repaired_path
from method_parts.repairs import needs_of
from method_parts.schedule import Request, choices

TITLES = {"resnet20": "ResNet-20", "resnet56": "ResNet-56"}
IMAGES = frozenset({"data", "labels"})


@dataclass(frozen=True)
class Row:
    """What is known of a method at one budget."""

    model: str
    method: str
    allocation: str
    budget: float
    seconds: tuple[float, ...] = ()  # to choose, of each seed
    macs_shares: tuple[float, ...] = ()
    percents: dict[str, tuple[float, ...]] = field(default_factory=dict)  # top-1 by chain, of each seed
    failures: dict[str, str] = field(default_factory=dict)  # by chain
    failure: str = ""  # of the choice itself
    cpu: str = ""

    @property
    def needs(self) -> frozenset[str]:
        """What the method needs: of "data", "labels", "norm"."""
        if self.is_rival:
            return rival.CRITERIA[self.method.removeprefix(rival.PREFIX)].needs
        return METHODS.load(self.method).needs

    @property
    def is_rival(self) -> bool:
        """Whether torch-pruning chose."""
        return self.method.startswith(rival.PREFIX)

    @property
    def macs_share(self) -> float:
        """Of the whole model, the mean over the seeds."""
        return fmean(self.macs_shares)

    @property
    def seconds_to_choose(self) -> float:
        """The median over the seeds."""
        return median(self.seconds)

    @property
    def met(self) -> bool:
        """Whether the small model is as small as was asked for."""
        return bool(self.macs_shares) and max(self.macs_shares) <= self.budget * (1 + rival.TOLERANCE)

    def percent(self, chain: str) -> float:
        """Top-1 accuracy after a chain that was measured, the mean over the seeds."""
        return fmean(self.percents[chain])

    def best(self, allowed: frozenset[str] = IMAGES) -> str | None:
        """The chain of the highest accuracy, of those that look at no other images than allowed; None if none does."""
        fit = [chain for chain in self.percents if (self.needs | needs_of(chain)) & IMAGES <= allowed]
        return max(fit, key=self.percent, default=None)


def rows_of(request: Request, work: Path) -> list[Row]:
    """All rows of which anything is known, in the order of the request."""
    found: dict[tuple[str, str, str, float], Row] = {}
    for choice in choices(request):
        chosen = read(Chosen, chosen_path(choice, work))
        if chosen is None or chosen.same_as_seed is not None:
            continue
        key = (choice.model, choice.method, choice.allocation, choice.budget)
        found[key] = _with(found.get(key, Row(*key)), chosen, _cells(request, choice, work))
    return list(found.values())


def n_missing(request: Request, work: Path) -> int:
    """Cells of the request that were not measured yet; seeds that may turn out to keep the same channels count."""
    count = 0
    for choice in choices(request):
        chosen = read(Chosen, chosen_path(choice, work))
        if chosen is None or not (chosen.failure or chosen.same_as_seed is not None):
            count += len(request.chains_of(choice)) - len(_cells(request, choice, work))
    return count


def title(model: str) -> str:
    """As people write it."""
    return TITLES.get(model, model)


def methods_of(rows: Iterable[Row]) -> list[str]:
    """Their methods, each once."""
    return list(dict.fromkeys(row.method for row in rows))


def _cells(request: Request, choice: Choice, work: Path) -> list[Repaired]:
    chains = request.chains_of(choice)
    found = [read(Repaired, repaired_path(choice, chain, request.n_images, work)) for chain in chains]
    return [repaired for repaired in found if repaired is not None]


def _with(row: Row, chosen: Chosen, cells: Sequence[Repaired]) -> Row:
    """The row with one more seed."""
    if chosen.failure:
        return replace(row, failure=chosen.failure)
    percents, failures = dict(row.percents), dict(row.failures)
    for repaired in cells:
        if repaired.failure:
            failures[repaired.chain] = repaired.failure
        else:
            percents[repaired.chain] = (*percents.get(repaired.chain, ()), repaired.top1_percent)
    return replace(
        row,
        seconds=(*row.seconds, chosen.seconds),
        macs_shares=(*row.macs_shares, chosen.macs_share),
        percents=percents,
        failures=failures,
        cpu=chosen.cpu,
    )
