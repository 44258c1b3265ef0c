"""Which channels stay: a method's judgement, an allocation and a budget, joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compressor.core.errors import ContractViolation, InvalidOption, NothingPrunable, UnsupportedModel
from compressor.core.groups import ChannelGroup, ModelCost, Role
from compressor.core.protocols import MethodContext
from compressor.planning.allocate import Allocation, by_rank, by_ratios, scaled, uniform
from compressor.planning.budget import Budget
from compressor.planning.rounding import STEPS, Grid, Listed, grid_of
from compressor.planning.widths import Widths, solve
from compressor.planning.worth import worth_of_levels, worth_of_scores

ALLOCATIONS = ("local", "global")
NAMED = 3  # groups in a note, before the others are counted


@dataclass(frozen=True)
class Decision:
    """Kept channels per group, ascending; what remains in the budget's unit; and what people should know."""

    keep: dict[str, tuple[int, ...]]
    remaining: float
    met: bool
    notes: tuple[str, ...]


class Planner:
    """Asks the method once; then any number of budgets can be planned."""

    def __init__(
        self,
        groups: Sequence[ChannelGroup],
        cost: ModelCost,
        method: Any,
        context: MethodContext,
        allocation: str = "global",
        round_to: int = 0,
    ) -> None:
        """
        Args:
            groups: that may lose channels.
            cost: of the whole model.
            method: a `Criterion` or a `Selector`.
            context: what the method may look at.
            allocation: "local" (every group the same share) or "global" (groups compete).
            round_to: widths are multiples of this; 0 chooses by size.

        Raises:
            InvalidOption: unknown allocation, or `round_to` below 0.
            NothingPrunable: the method can judge none of the groups.
            UnsupportedModel: a score is NaN or infinite.
            ContractViolation: the method broke its protocol.
        """
        if allocation not in ALLOCATIONS:
            raise InvalidOption("planning", "--allocation", " or ".join(ALLOCATIONS), allocation)
        if round_to < 0:
            raise InvalidOption("planning", "--round-to", "at least 1, or 0 to choose by size", round_to)
        self._cost, self._round_to = cost, round_to
        self._heard = _Heard()
        context = replace(context, note=self._heard)
        self._judge = _Selecting(method, context) if hasattr(method, "select") else _Scoring(method, context, groups)
        self._judged = [group for group in groups if self._judge.can(group)]
        if not self._judged:
            raise NothingPrunable(
                f"The method can judge none of the {len(groups)} groups (it goes by: {method.summary}). "
                "Choose another with --method; `compress methods` lists them."
            )
        n_left = len(groups) - len(self._judged)
        self._notes = [f"{n_left} groups stay whole: the method cannot judge them."] if n_left else []
        self._allowed: dict[str, Listed] = {}
        self._local = allocation == "local"
        self._wanted = uniform(self._judged) if self._local else self._judge.allocation(self._judged)

    @property
    def groups(self) -> list[ChannelGroup]:
        """Those that may lose channels and that the method can judge."""
        return self._judged

    def allow(self, counts: Mapping[str, Sequence[int]]) -> None:
        """Restricts widths to these counts, ascending, the whole group last; groups not named keep their steps."""
        self._allowed = {name: Listed(tuple(found)) for name, found in counts.items()}

    def _grid(self, group: ChannelGroup, steps: int) -> Grid | Listed:
        return self._allowed.get(group.name) or grid_of(group, self._round_to, steps)

    def counts(self, step: int) -> dict[str, list[int]]:
        """The counts that each group may have, ascending, in widths of that step, or of --round-to where given."""
        return {group.name: grid_of(group, self._round_to or step).counts() for group in self._judged}

    def worth(self) -> dict[str, np.ndarray]:
        """What keeping k channels of each group is worth, k from 0 to all: {group: (n_channels + 1,)}."""
        if not self._local and isinstance(self._judge, _Scoring):
            scores = self._judge.scores
            comparable = self._judge.comparable
            return worth_of_scores({g.name: scaled(scores[g.name], comparable) for g in self._judged})
        return worth_of_levels(self._judged, self._cost, self._wanted)

    def picked(self, group: ChannelGroup, n_keep: int) -> tuple[int, ...]:
        """The channels of one group that the method keeps, ascending.

        Raises:
            ContractViolation: the method broke its protocol.
        """
        return _checked(self._judge.pick(group, n_keep), group, n_keep)

    def widths_of(self, n_keep: Mapping[str, int]) -> Widths:
        """Counts that somebody else chose, with the share of the multiply-accumulates that remains."""
        share = Budget("macs", 0.5).share(self._judged, self._cost)
        return Widths(dict(n_keep), share(n_keep), True)

    def widths(self, budget: Budget) -> Widths:
        """How many channels each group keeps."""
        share = budget.share(self._judged, self._cost)
        for steps in STEPS:
            grids = {group.name: self._grid(group, steps) for group in self._judged}
            widths = solve(self._judged, grids, self._wanted, share, budget.remaining)
            if self._round_to or not widths.shortfall:
                break
        return widths

    def decide(self, budget: Budget) -> Decision:
        """The channels that stay.

        Raises:
            ContractViolation: the method broke its protocol.
        """
        widths = self.widths(budget)
        notes = []
        if widths.shortfall:
            notes.append(f"--{budget.unit} {budget.value:g} asks for {budget.remaining:.1%}, but {widths.shortfall}.")
        return self.choose(widths, notes)

    def choose(self, widths: Widths, notes: Sequence[str] = ()) -> Decision:
        """The channels that stay at these widths.

        Raises:
            ContractViolation: the method broke its protocol.
        """
        counts = widths.n_keep
        keep = {group.name: self.picked(group, counts[group.name]) for group in self._judged}
        return Decision(keep, widths.remaining, widths.met, (*self._notes, *notes, *self._heard.sentences()))


@dataclass
class _Heard:
    """What the method notes; what it says of many groups becomes one sentence."""

    groups: dict[str, list[str]] = field(default_factory=dict)  # of each sentence

    def __call__(self, group: str, sentence: str) -> None:
        told = self.groups.setdefault(sentence, [])
        if group not in told:
            told.append(group)

    def sentences(self) -> list[str]:
        return [f"{_names(groups)}: {sentence}" for sentence, groups in self.groups.items()]


def _names(groups: Sequence[str]) -> str:
    more = f" and {len(groups) - NAMED} more" if len(groups) > NAMED else ""
    return ", ".join(groups[:NAMED]) + more


class _Scoring:
    """A criterion: scores once, then everything follows from them."""

    def __init__(self, method: Any, context: MethodContext, groups: Sequence[ChannelGroup]) -> None:
        self.comparable = bool(method.comparable)
        self.scores: Mapping[str, Tensor] = method.scores(groups, context)
        for group in groups:
            score = self.scores.get(group.name)
            if score is None:
                continue
            if score.shape != (group.n_channels,):
                raise ContractViolation(
                    f"{type(method).__name__}: scores of {group.name} must be of shape ({group.n_channels},), "
                    f"but got {tuple(score.shape)}."
                )
            if not bool(torch.isfinite(score).all()):
                raise UnsupportedModel(
                    f"{type(method).__name__}: scores of {group.name} must be finite, but one is NaN or infinite. "
                    f"Check the weights of {', '.join(member.layer for member in group.having(Role.PRODUCER))}."
                )

    def can(self, group: ChannelGroup) -> bool:
        return group.name in self.scores

    def allocation(self, groups: Sequence[ChannelGroup]) -> Allocation:
        return by_rank(groups, self.scores, self.comparable)

    def pick(self, group: ChannelGroup, n_keep: int) -> Sequence[int]:
        order = torch.argsort(self.scores[group.name], descending=True, stable=True)
        return [int(i) for i in order[:n_keep]]


class _Selecting:
    """A selector: chooses the channels of a group jointly, once the count is known."""

    def __init__(self, method: Any, context: MethodContext) -> None:
        self.method, self.context = method, context

    def can(self, group: ChannelGroup) -> bool:
        return True

    def allocation(self, groups: Sequence[ChannelGroup]) -> Allocation:
        return by_ratios(groups, lambda ratio: self.method.ratios(groups, self.context, ratio))

    def pick(self, group: ChannelGroup, n_keep: int) -> Sequence[int]:
        if n_keep == group.n_channels:
            return range(group.n_channels)
        return self.method.select(group, n_keep, self.context)


def _checked(chosen: Sequence[int], group: ChannelGroup, n_keep: int) -> tuple[int, ...]:
    keep = tuple(sorted(int(i) for i in chosen))
    if len(keep) != n_keep or len(set(keep)) != n_keep or keep[0] < 0 or keep[-1] >= group.n_channels:
        raise ContractViolation(
            f"{group.name}: the method must keep {n_keep} distinct channels, but kept {len(set(keep))}."
        )
    return keep
