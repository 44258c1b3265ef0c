"""From rows to docs/methods.md."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from compressor.core.plugins import PluginFolder
from compressor.runs.choose import METHODS
from compressor.runs.recover import RECOVERIES
from method_parts.cells import Dense
from method_parts.ranking import Ranked, Recipe, default_recipe, ranking, within
from method_parts.repairs import NONE
from method_parts.rival import PREFIX
from method_parts.rows import IMAGES, Row, methods_of, title
from method_parts.schedule import RIVAL_CHAINS
from method_parts.subject import INNER

UNKNOWN = "–"
NOTHING: frozenset[str] = frozenset()
PICTURES = frozenset({"data"})
HALF = 0.5
N_SHOWN = 3  # recipes a kind
INTRODUCTION = """# Which method to use

Networks trained on CIFAR-10 are cut to a share of their MACs by every method that chooses channels, and measured as
they are and after every repair that needs no training. This page and its plot are written by
`python benchmarks/methods.py --write-docs`, its sentences too, from the files of the cells; nobody edits it.

- **method**: `--method`. **spread**: `--allocation local` (every group loses the same share of its channels) or
  `global` (groups compete); *inner* is local with the residual streams left whole (`--ignore`), the channels that most
  papers and torch-pruning cut here; *inner-global* is torch-pruning's own ranking over these.
- **choose**: seconds to choose the channels once, on one thread, of a busy machine; images that a method looks at are
  in it, loading the model and finding its groups are not.
- **MACs left**: counted on the small model.
- The other columns are top-1 accuracies in percent after `--recover`; *none* is the model as it was cut. Where the
  choice depends on the seed, the mean over the seeds and half of the distance between the largest and the smallest.
  The best of a line is bold. Repairs look at images of the training set, never at their labels.
- **torch-pruning**: its criteria under `MetaPruner`, the pruning ratio found by bisection so that the MACs are those of
  the budget, or a fortieth more where its whole widths give no other.
"""


def page(rows: Sequence[Row], dense: Mapping[str, Dense], chains: Sequence[str], missing: int, drawing: str) -> str:
    """The whole page.

    Args:
        rows: of all choices of which anything is known.
        dense: the whole models, by name.
        chains: of repairs, in the order of the columns.
        missing: how many cells were asked for and not measured yet.
        drawing: the plot's file, beside the page.
    """
    lines = [INTRODUCTION]
    if missing:
        lines.append(f"**{missing} cells have not been measured yet, so the sentences below may change.**\n")
    lines += [*_setting(rows, dense), "", "## Which to use", "", *_advice(rows, dense)]
    lines += ["", f"![Accuracy against MACs]({drawing})"]
    for model in dense:
        of_model = [row for row in rows if row.model == model]
        if of_model:
            lines += ["", f"## {title(model)}", "", *_table(of_model, dense[model], chains)]
    lines += ["", "## The methods", "", *_uses(METHODS, [m for m in methods_of(rows) if m in METHODS.names()])]
    steps = list(dict.fromkeys(step for chain in chains if chain != NONE for step in chain.split("+")))
    lines += ["", "## The repairs", "", *_uses(RECOVERIES, steps)]
    return "\n".join([*lines, *_failures(rows)]) + "\n"


def _setting(rows: Sequence[Row], dense: Mapping[str, Dense]) -> list[str]:
    said = [f"{title(d.model)} {d.top1_percent:.2f} % at {d.macs / 1e6:.1f} M MACs" for d in dense.values()]
    lines = [f"Whole: {', '.join(said)}."] if said else []
    for n_images in sorted({d.n_images for d in dense.values()}):
        worst = 100 * math.sqrt(0.25 / n_images)
        lines.append(
            f"The first {n_images:,} images of the test set; an accuracy's standard error is at most "
            f"{worst:.1f} points, so smaller differences between two lines are luck."
        )
    lines += [f"Machine: {cpu}, one thread." for cpu in sorted({row.cpu for row in rows if row.cpu})]
    return lines


def _advice(rows: Sequence[Row], dense: Mapping[str, Dense]) -> list[str]:
    ranked = ranking(rows, dense)
    kinds = (
        ("No images, no repair", within(ranked, NOTHING, [NONE])),
        ("No images", within(ranked, NOTHING)),
        ("Images without labels", within(ranked, PICTURES)),
        ("Images with labels", within(ranked, IMAGES)),
    )
    lines = ["Points below the whole model are means over all models and budgets of this page.", ""]
    for kind, fit in kinds:
        if fit:
            best = f"{_typed(fit[0].recipe)}, {fit[0].drop:.1f} points below the whole model"
            nexts = [f"{_typed(each.recipe)}, {each.drop:.1f}" for each in fit[1:N_SHOWN]]
            lines.append(f"- **{kind}**: {'; then '.join([best, *nexts])}.")
    lines += [f"- {sentence}" for sentence in (_default(ranked, False), _default(ranked, True))]
    lines += [f"- {sentence}" for model in dense if (sentence := _at_half(rows, dense[model]))]
    return lines


def _default(ranked: Sequence[Ranked], with_images: bool) -> str:
    """Where the default of `compress` stands among those that need no more than it is given."""
    recipe = default_recipe(with_images)
    given = "with images" if with_images else "without images"
    fit = within(ranked, PICTURES if with_images else NOTHING)
    place = next((number for number, each in enumerate(fit) if each.recipe == recipe), None)
    if place is None:
        return f"The default of `compress` {given} is {_typed(recipe)}; it was not measured everywhere."
    behind = fit[place].drop - fit[0].drop
    where = f"the best of {len(fit)}" if place == 0 else f"number {place + 1} of {len(fit)}, {behind:.1f} points behind"
    return f"The default of `compress` {given} is {_typed(recipe)}: {fit[place].drop:.1f} points below, {where}."


def _at_half(rows: Sequence[Row], dense: Dense) -> str:
    """The best at half of the MACs without labels and training, beside torch-pruning's best; empty if unknown."""
    here = [row for row in rows if row.model == dense.model and row.budget == HALF and row.met]
    ours = [(row.percent(c), row, c) for row in here if not row.is_rival and (c := row.best(PICTURES))]
    if not ours:
        return ""
    percent, row, chain = max(ours, key=lambda each: each[0])
    said = (
        f"Half of the MACs of {title(dense.model)}, no labels, no training: "
        f"{_typed(Recipe(row.method, row.allocation, chain))} keeps {percent:.1f} % of {dense.top1_percent:.1f} %, "
        f"{dense.top1_percent - percent:.1f} points below."
    )
    theirs = [_rival(here, chain) for chain in RIVAL_CHAINS]
    return " ".join([said, *filter(None, theirs)])


def _rival(rows: Iterable[Row], chain: str) -> str:
    found = [row for row in rows if row.is_rival and chain in row.percents]
    if not found:
        return ""
    best = max(found, key=lambda row: row.percent(chain))
    with_what = "nothing" if chain == NONE else f"`{chain}`"
    criterion = best.method.removeprefix(PREFIX)
    labels = ", with labels" if "labels" in best.needs else ""
    what = f"`{criterion}` ({best.allocation}{labels}), {best.percent(chain):.1f} %"
    return f"Torch-pruning's best with {with_what}: {what}."


def _typed(recipe: Recipe) -> str:
    """What is typed to have it."""
    spread = "local --ignore STREAMS" if recipe.allocation == INNER else recipe.allocation
    repair = "" if recipe.chain == NONE else f" --recover {recipe.chain.replace('+', ',')}"
    return f"`--method {recipe.method} --allocation {spread}{repair}`"


def _table(rows: Sequence[Row], dense: Dense, chains: Sequence[str]) -> list[str]:
    heads = ["budget", "method", "needs", "spread", "choose s", "MACs left", *(c.replace("+", " + ") for c in chains)]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    lines.append(f"| 100% | whole | | | | 100.0% | {dense.top1_percent:.1f} |" + " |" * (len(chains) - 1))
    for budget in dict.fromkeys(row.budget for row in rows):
        here = [row for row in rows if row.budget == budget]
        lines += [_line(row, chains) for row in sorted(here, key=_best_percent, reverse=True)]
    return lines


def _best_percent(row: Row) -> float:
    best = row.best()
    return -1.0 if best is None else row.percent(best)


def _line(row: Row, chains: Sequence[str]) -> str:
    known = bool(row.seconds)
    cells = [
        f"{row.budget:.0%}",
        row.method,
        _needs(row.needs),
        row.allocation,
        f"{row.seconds_to_choose:.2f}" if known else UNKNOWN,
        f"{row.macs_share:.1%}{'' if row.met else ' (!)'}" if known else UNKNOWN,
        *(_cell(row, chain) for chain in chains),
    ]
    return f"| {' | '.join(cells)} |"


def _cell(row: Row, chain: str) -> str:
    values = row.percents.get(chain)
    if not values:
        return "refused" if chain in row.failures or row.failure else UNKNOWN
    spread = f" ± {(max(values) - min(values)) / 2:.1f}" if len(values) > 1 else ""
    text = f"{row.percent(chain):.1f}{spread}"
    return f"**{text}**" if chain == row.best() else text


def _needs(needs: frozenset[str]) -> str:
    """Of images, the most that is asked for."""
    kinds = ["labels" if "labels" in needs else "images"] if needs & IMAGES else []
    return ", ".join([*kinds, *(["norms"] if "norm" in needs else [])])


def _uses(folder: PluginFolder, names: Sequence[str]) -> list[str]:
    kinds = {name: folder.load(name) for name in names}
    return [f"- `{name}`: {getattr(kind, 'use_when', '') or kind.summary}." for name, kind in kinds.items()]


def _failures(rows: Sequence[Row]) -> list[str]:
    """Each refusal once, with who got it."""
    told: dict[str, list[str]] = {}
    for row in rows:
        who = f"{title(row.model)} {row.method} {row.allocation} {row.budget:.0%}"
        if row.failure:
            told.setdefault(row.failure, []).append(who)
        for chain, sentence in row.failures.items():
            told.setdefault(sentence, []).append(f"{who} + {chain}")
    lines = [f"- {sentence} ({whom[0]}{_more(whom)})" for sentence, whom in told.items()]
    return ["", "## Refused", "", *lines] if lines else []


def _more(whom: Sequence[str]) -> str:
    return f" and {len(whom) - 1} more" if len(whom) > 1 else ""
