"""From results to a page: summary lines per family, then a line per model."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence

from zoo_parts.results import (
    CRASH,
    FAILED,
    LIMIT,
    NOT_REACHED,
    NOTHING,
    PASS,
    PASSED,
    SENTENCE,
    TRACEBACK,
    Outcome,
    Result,
    Rival,
)

UNKNOWN = "–"
MARKS = {PASSED: "yes", FAILED: "**no**", NOT_REACHED: UNKNOWN}
# Stage and heading; graph, coverage, plan and cut show their figures instead.
COLUMNS = (
    ("oracle", "cut = masked"),
    ("forward", "forward"),
    ("backward", "backward"),
    ("save", "save"),
    ("replay", "replay"),
    ("export", "ONNX"),
    ("onnxruntime", "ONNX Runtime"),
    ("openvino", "OpenVINO"),
)
INTRODUCTION = """# Coverage: what happens to public models

Every model is built with random weights, cut to half of its MACs by `--method l1`, and taken through all stages by
`benchmarks/zoo.py`, each in a process of its own with a limit on time and memory. The list is
`benchmarks/zoo_parts/models.csv`; this page is written by `python benchmarks/zoo.py --write-docs`.

- **prunable**: share of the MACs in layers that may lose channels. **MACs left**: counted on the cut model.
- **graph**: seconds to find the groups on one thread, and the growth of the process's memory meanwhile, as a share of
  the model (parameters and buffers) and its activations (outputs of all leaf modules) together, and in megabytes. Of
  the smallest models the share says little: some megabytes of Python objects are many times their weights.
- **cut = masked**: the cut model computes what the whole one does with those channels silenced; so it does under three
  random plans, in which every group keeps any number of its channels (older results have the one plan only).
- **backward**: in training mode with a batch of two, or in evaluation mode where the whole model does not train so.
- **replay**: plan and weights on a fresh instance give the same numbers, bit for bit.
- **ONNX Runtime, OpenVINO**: the exported file gives the module's outputs within a thousandth of their size.
- **end to end**: all of it, half of the MACs reached; else the first thing that failed.
- **torch-pruning**: its own pruner on the same model, L1, `pruning_ratio=0.5`, the output layers ignored. "pass" means
  that the pruned model runs, keeps the shapes of its outputs and has fewer parameters; its numbers are not checked.
"""


def page(results: Sequence[Result], order: Sequence[str], missing: int) -> str:
    """The whole page.

    Args:
        results: of all models that have any, in the order of the list.
        order: families, in the order of the list.
        missing: how many models of the list have no result of ours yet.
    """
    done = [result for result in results if result.ours is not None]
    lines = [INTRODUCTION]
    if missing:
        lines.append(f"**{missing} models of the list have not been run yet.**\n")
    if done:
        n_random = sum("random_plans" in (result.ours.facts if result.ours else ()) for result in done)
        lines.append(f"Random plans were tried on {n_random} of {len(done)} models.\n")
    lines += ["## Summary", "", *_summary(done, order), "", *_machines(done)]
    for family in order:
        members = [result for result in done if result.family == family]
        if members:
            lines += ["", f"## {family}", "", *_header(), *(_row(result) for result in members)]
    return "\n".join(lines) + "\n"


def headline(result: Result) -> str:
    """One line for the terminal."""
    ours = result.ours
    if ours is None:
        return f"{result.model}: not run"
    verdict = "passed end to end" if ours.passed else why(ours)
    return (
        f"{result.model}: {verdict} ({ours.seconds:.0f} s, graph {_seconds(ours)} s, {ours.peak_bytes / 2**30:.1f} GiB)"
    )


def why(ours: Outcome) -> str:
    """The first failure: the stage and its sentence."""
    failure = ours.failure
    if failure is None:
        return "not finished"
    mark = {TRACEBACK: " [traceback]", CRASH: " [crash]", LIMIT: " [limit]"}.get(failure.left_behind, "")
    return f"{failure.name}{mark}: {failure.sentence}"


def _summary(done: Sequence[Result], order: Sequence[str]) -> list[str]:
    heads = (
        "family | models | passed end to end | failed with a sentence | traceback | crash | limit | graph s, median | "
        "graph s, max | graph memory, max | torch-pruning passes"
    )
    lines = [f"| {heads} |", "|" + "---|" * 11]
    for family in (*order, "all"):
        members = [r for r in done if family in (r.family, "all")]
        if members:
            lines.append(f"| {family} | {' | '.join(_summary_cells(members))} |")
    return lines


def _summary_cells(members: Sequence[Result]) -> list[str]:
    outcomes = [r.ours for r in members if r.ours is not None]
    n_passed = sum(outcome.passed for outcome in outcomes)
    left = Counter(o.failure.left_behind for o in outcomes if o.failure is not None)
    seconds = _numbers(o.facts.get("graph_seconds") for o in outcomes)
    memory = _numbers(_memory_share(o) for o in outcomes)
    rivals = [r.torch_pruning for r in members if r.torch_pruning is not None]
    passes = sum(rival.status == PASS for rival in rivals)
    return [
        str(len(outcomes)),
        f"{n_passed} ({n_passed / len(outcomes):.0%})",
        *(str(left[kind]) for kind in (SENTENCE, TRACEBACK, CRASH, LIMIT)),
        f"{statistics.median(seconds):.2f}" if seconds else UNKNOWN,
        f"{max(seconds):.2f}" if seconds else UNKNOWN,
        f"{max(memory):.2f}" if memory else UNKNOWN,
        f"{passes} of {len(rivals)}" if rivals else UNKNOWN,
    ]


def _machines(done: Sequence[Result]) -> list[str]:
    """What the results were made with; more than one line where they come from several machines or versions."""
    made = {(r.cpu, ", ".join(f"{name} {version}" for name, version in sorted(r.versions.items()))) for r in done}
    return [
        f"Made on {cpu or 'a CPU that tells no name'}, one thread, with {versions}." for cpu, versions in sorted(made)
    ]


def _header() -> list[str]:
    heads = ["model", "parameters", "prunable", "MACs left", "graph s", "graph memory"]
    heads += [heading for _, heading in COLUMNS] + ["end to end", "torch-pruning"]
    return [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]


def _row(result: Result) -> str:
    ours = result.ours
    if ours is None:
        raise RuntimeError("only models that were run have a row")
    facts = ours.facts
    memory = _memory_share(ours)
    cells = [
        result.model,
        _millions(facts.get("params")),
        _percent(facts.get("prunable_macs_share")),
        _percent(facts.get("macs_left")),
        _seconds(ours),
        f"{memory:.2f} ({float(facts['graph_bytes']) / 1e6:.0f} MB)" if memory is not None else UNKNOWN,
        *(MARKS[ours.status(stage)] for stage, _ in COLUMNS),
        "**passed**" if ours.passed else why(ours),
        _rival(result.torch_pruning),
    ]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _rival(rival: Rival | None) -> str:
    if rival is None:
        return UNKNOWN
    return rival.status if rival.status in (PASS, NOTHING) else f"fail: {rival.sentence}"


def _memory_share(ours: Outcome) -> float | None:
    facts = ours.facts
    if "graph_bytes" not in facts:
        return None
    return float(facts["graph_bytes"]) / (float(facts["model_bytes"]) + float(facts["activation_bytes"]))


def _numbers(values: Iterable[float | int | str | bool | None]) -> list[float]:
    return [float(value) for value in values if value is not None]


def _seconds(ours: Outcome) -> str:
    return f"{float(ours.facts['graph_seconds']):.2f}" if "graph_seconds" in ours.facts else UNKNOWN


def _percent(value: float | int | str | bool | None) -> str:
    return f"{float(value):.1%}" if value is not None else UNKNOWN


def _millions(value: float | int | str | bool | None) -> str:
    return f"{float(value) / 1e6:.1f} M" if value is not None else UNKNOWN
