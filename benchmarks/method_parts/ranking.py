"""Methods with their repairs, in the order of what they cost in accuracy over all models and budgets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from compressor.core.options import RunOptions
from compressor.runs.recover import recoveries_of
from method_parts.cells import Dense
from method_parts.repairs import NONE, needs_of
from method_parts.rows import IMAGES, Row
from method_parts.subject import LOCAL


@dataclass(frozen=True)
class Recipe:
    """How a model is made smaller."""

    method: str
    allocation: str
    chain: str


@dataclass(frozen=True)
class Ranked:
    """What a recipe costs."""

    recipe: Recipe
    drop: float  # points below the whole model, the mean over models and budgets
    images: frozenset[str]  # of "data" and "labels", what it needs
    is_rival: bool


def ranking(rows: Iterable[Row], dense: Mapping[str, Dense]) -> list[Ranked]:
    """The best first. A recipe counts if it was measured wherever any was, and met every budget."""
    places: set[tuple[str, float]] = set()
    measured: dict[Recipe, list[Row]] = defaultdict(list)
    for row in rows:
        if row.model in dense and row.met:
            for chain in row.percents:
                places.add((row.model, row.budget))
                measured[Recipe(row.method, row.allocation, chain)].append(row)
    complete = {recipe: members for recipe, members in measured.items() if len(members) == len(places)}
    ranked = [_ranked(recipe, members, dense) for recipe, members in complete.items()]
    return sorted(ranked, key=lambda each: each.drop)


def within(ranked: Sequence[Ranked], images: frozenset[str], chains: Sequence[str] | None = None) -> list[Ranked]:
    """Ours that need no other images than these, with any repair or one of `chains`."""
    return [
        each
        for each in ranked
        if not each.is_rival and each.images <= images and (chains is None or each.recipe.chain in chains)
    ]


def default_recipe(with_images: bool) -> Recipe:
    """What `compress` does where nothing is typed but the budget, and the images if there are any."""
    options = RunOptions(data="images" if with_images else "")
    return Recipe(options.criterion, options.allocation or LOCAL, "+".join(recoveries_of(options)) or NONE)


def _ranked(recipe: Recipe, members: Sequence[Row], dense: Mapping[str, Dense]) -> Ranked:
    drop = fmean(dense[row.model].top1_percent - row.percent(recipe.chain) for row in members)
    needs = members[0].needs | needs_of(recipe.chain)
    return Ranked(recipe, drop, needs & IMAGES, members[0].is_rival)
