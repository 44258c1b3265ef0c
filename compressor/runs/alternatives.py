"""Low rank alone and pruning alone, each as fast as the model that has both: what the same time buys.

Each begins with the weights that the model began with, and gets the same repairs and the same training. Both are sought
by measuring on the first target that was timed; then all are timed in turns with the original.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from compressor.core.errors import CompressionError
from compressor.core.options import BUDGETS
from compressor.decompositions.rule import RankRule
from compressor.graph.cost import measure_cost
from compressor.planning.seek import Trial, best, seek
from compressor.profiling.statistics import Estimate, ratio_of
from compressor.report.low_rank_wording import finding_of
from compressor.report.schema import AccuracyRow, Alternative, Alternatives
from compressor.runs.accuracy import measure_accuracy
from compressor.runs.bench import Bench, Effort, timed
from compressor.runs.choose import choose, plan_without_cuts
from compressor.runs.contract import SEARCH
from compressor.runs.coverage import cover
from compressor.runs.datasets import Datasets
from compressor.runs.folder import RunFolder
from compressor.runs.low_rank import Races, split_rows, split_source
from compressor.runs.prove import prove
from compressor.runs.record import Record, Source, Timing, Whole
from compressor.runs.recover import recover
from compressor.surgery.cut import cut_copy
from exporters.export import export

BOTH, LOW_RANK, PRUNING = "both", "low rank", "pruning"
LEAST = 0.05  # share of a layer's multiply-accumulates, the lowest rank that is tried
MARGIN = 0.98  # of the measured speed-up: the search asks for a whole interval above it


@dataclass(frozen=True)
class Arm:
    """One alternative that was made, or why it was not."""

    name: str
    module: nn.Module | None = None
    accuracy: AccuracyRow | None = None
    unavailable: str = ""


def compare_alternatives(record: Record, small: nn.Module, data: Datasets, folder: RunFolder) -> None:
    """Puts the comparison into the record; nothing where it was not asked for, or no layer was split."""
    if not record.options.alternatives or record.whole is None:
        return
    timing = next((each for each in record.timings if each.comparison is not None), None)
    if timing is None:
        record.note("Low rank alone and pruning alone were not made: no target could be timed.")
        return
    with record.stage("alternatives"):
        goal = goal_of(timing)
        if goal <= 1.0:
            record.note("Low rank alone and pruning alone were not made: the model is no faster than the original.")
            return
        arms = [Arm(BOTH, small, record.accuracy[-1] if record.accuracy else None)]
        for name, make in ((LOW_RANK, _low_rank), (PRUNING, _pruning)):
            with record.progress.step(f"Making the alternative: {name} alone"):
                try:
                    arms.append(make(_beginning(record, timing.target, goal), data, _room(folder, name)))
                except CompressionError as error:
                    arms.append(Arm(name, unavailable=str(error)))
        rows = _timed_in_turns(record, timing, arms, folder)
        n_images = arms[0].accuracy.n_images if arms[0].accuracy else 0
        found = Alternatives(timing.target, rows, n_images, "")
        record.alternatives = replace(found, finding=finding_of(found))


def goal_of(timing: Timing) -> float:
    """The speed-up that the alternatives have to reach."""
    return timing.comparison.ratio * MARGIN if timing.comparison is not None else 1.0


def _beginning(record: Record, target: str, goal: float) -> Record:
    """A record of the model before layers were split, whose budget is the speed-up that was measured."""
    if record.whole is None:
        raise RuntimeError("alternatives are to what was split")
    budget: dict[str, Any] = dict.fromkeys(BUDGETS) | {"speedup": goal}
    options = dataclasses.replace(record.options, on=(target,), alternatives=False, **budget)
    return Record(
        record.whole.source,
        options,
        record.progress,
        coverage=record.whole.coverage,
        importance=record.importance,
        base_files=list(record.base_files),
        machine=record.machine,
    )


def _room(folder: RunFolder, name: str) -> RunFolder:
    room = RunFolder(folder.work / "alternatives" / name.replace(" ", "-"))
    room.work.mkdir(parents=True, exist_ok=True)
    return room


def _pruning(record: Record, data: Datasets, room: RunFolder) -> Arm:
    """Channels alone, until the file is as fast."""
    record.plan, record.budget_met = choose(record, data, room)
    prove(record, data, room)
    if not record.budget_met:
        (target,) = record.options.on
        search = record.speed_search
        return Arm(PRUNING, unavailable=_slower(target, max(row.value for row in search.rows) if search else 1.0))
    small = cut_copy(record.source.module, record.plan.cuts, record.plan.attributes)
    return _repaired(PRUNING, record, small, data, room)


def _low_rank(record: Record, data: Datasets, room: RunFolder) -> Arm:
    """Thin layers alone: the highest share of each layer's multiply-accumulates at which the file is as fast."""
    bench, races = Bench(record, room), Races()
    (target,) = bench.targets
    asked = record.options.budget[1]
    made: dict[float, Source] = {}  # by share of a layer's multiply-accumulates

    def measure(share: float) -> Trial:
        rows = split_rows(record, RankRule(ratio=share), bench, races, room.work / "layers")
        made[share] = split_source(record.source, record.options.decompose, rows)
        with bench.files_of(made[share].module) as files:
            found = ratio_of(*bench.pair(target, files[target], SEARCH[0]))
        record.progress.note(f"Low rank alone, {share:.1%} of each layer's MACs: {found.value:.2f}x")
        return Trial(share, found.value / asked, found.low / asked)

    found = best(seek(measure, 1 / asked, LEAST))
    if not found.holds:
        return Arm(LOW_RANK, unavailable=_slower(target, found.speed * asked))
    source, whole = made[found.share], record.coverage
    if whole is None:
        raise RuntimeError("coverage comes before alternatives")
    record.whole, record.source = Whole(record.source, whole), source
    record.coverage = cover(source.module, source.inputs, record.options.ignore, record.options.seed, needed=False)
    record.plan = plan_without_cuts(record)
    return _repaired(LOW_RANK, record, cut_copy(source.module, (), ()), data, room)


def _repaired(name: str, record: Record, module: nn.Module, data: Datasets, room: RunFolder) -> Arm:
    measure_accuracy(record, "cut", module, data, room)
    recover(record, module, data, room)
    return Arm(name, module, record.accuracy[-1] if record.accuracy else None)


def _slower(target: str, ratio: float) -> str:
    return f"It does not become as fast on {target}: {ratio:.2f}x at most."


def _timed_in_turns(record: Record, timing: Timing, arms: Sequence[Arm], folder: RunFolder) -> tuple[Alternative, ...]:
    """All that were made, beside the original, on one target."""
    if timing.base is None or timing.compressed is None:
        raise RuntimeError("alternatives are to what was timed")
    format_name = next(file.format for file in record.base_files if file.path == timing.base.path)
    paths = {BOTH: timing.compressed.path}
    for arm in arms[1:]:
        if arm.module is not None:
            place = folder.work / "alternatives" / "files"
            (file,) = export(arm.module, record.source.inputs, [format_name], place, arm.name.replace(" ", "-"))
            paths[arm.name] = file.path
    base, *others = timed(record, timing.target, [timing.base.path, *paths.values()], Effort())
    ratios = {name: ratio_of(base, each) for name, each in zip(paths, others, strict=True)}
    return tuple(_row(record, arm, ratios.get(arm.name)) for arm in arms)


def _row(record: Record, arm: Arm, ratio: Estimate | None) -> Alternative:
    if arm.module is None or ratio is None:
        return Alternative(arm.name, arm.unavailable)
    counts = measure_cost(arm.module, record.source.inputs)
    return Alternative(
        name=arm.name,
        macs_share=counts.macs / record.cost.macs,
        params_share=counts.params / record.cost.params,
        top1_percent=arm.accuracy.top1_percent if arm.accuracy else None,
        ratio=ratio.value,
        interval=(ratio.low, ratio.high),
    )
