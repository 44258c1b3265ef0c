"""The stage that decides which channels stay, and writes it down as a plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

import torch
from torch import Tensor

from compressor.core.errors import DataError
from compressor.core.options import MEASURED, NOTHING, TRAINED
from compressor.core.plan import GroupPlan, PruningPlan
from compressor.core.plugin_options import plugin_options
from compressor.core.plugins import PluginFolder
from compressor.core.protocols import MethodContext
from compressor.core.quantities import MEASURED_STEPS
from compressor.data.dataset import ImageDataset
from compressor.graph.cost import CostModel
from compressor.planning.budget import Budget
from compressor.planning.planner import Planner
from compressor.planning.trained import Trained
from compressor.report.schema import SpeedSearch
from compressor.runs.bench import Bench
from compressor.runs.contract import meet
from compressor.runs.datasets import Datasets
from compressor.runs.folder import RunFolder
from compressor.runs.processes import is_main_process, same_for_all
from compressor.runs.record import Record
from compressor.runs.sensitivity import Opinions
from compressor.runs.tables import time_plans
from compressor.surgery.expand import expand
from exporters.signature import flatten_outputs

METHODS = PluginFolder("compressor.methods", "pruning method")
SCORING_BATCHES, SCORING_BATCH_SIZE = 16, 32  # for criteria that look at data
PACKAGES = ("compressor", "torch", "numpy")


def choose(record: Record, data: Datasets, folder: RunFolder, attempt: int = 1) -> tuple[PruningPlan, bool]:
    """The plan, and whether it meets the budget; read back if the run was interrupted after it.

    A later attempt is one whose coverage has fewer groups.

    Raises:
        UnknownPlugin, InvalidOption: the method or one of its options.
        DataError: the method needs data or labels and there are none.
    """
    decided = folder.remember(
        "chosen" if attempt == 1 else f"chosen-{attempt}", Chosen, lambda: _decide(record, data, folder)
    )
    record.speed_search = decided.speed_search
    for sentence in decided.plan.notes:
        record.note(sentence)
    return decided.plan, decided.met


@dataclasses.dataclass(frozen=True)
class Chosen:
    """What the folder remembers of this stage."""

    plan: PruningPlan
    met: bool
    speed_search: SpeedSearch | None = None


def make_method(name: str, options: Sequence[str]) -> Any:
    """The method's plug-in with its options set.

    Raises:
        UnknownPlugin: no such method; the nearest is suggested.
        InvalidOption: the method has no such option, or its value is of another type.
    """
    kind = Trained if name == TRAINED else METHODS.load(name)
    return kind(**plugin_options(kind, name, "--method-option", options))


def _decide(record: Record, data: Datasets, folder: RunFolder) -> Chosen:
    options, coverage = record.options, record.coverage
    if coverage is None:
        raise RuntimeError("coverage comes before the plan")
    unit, value = options.budget
    value *= _grown(record, unit)
    if unit in ("macs", "params") and value >= 1.0:  # splitting layers was enough
        return Chosen(plan_without_cuts(record), met=True)
    method = make_method(options.criterion, options.method_options)
    # What training left compares channels of all groups; a share of each would cut what it kept.
    allocation = options.allocation or ("global" if options.criterion == TRAINED else "local")
    round_to = max(0, options.round_to)
    planner = Planner(coverage.groups, coverage.cost, method, _context(record, data, method), allocation, round_to)
    # RunOptions.budget names one of the five units.
    if unit in MEASURED:
        decision = meet(record, planner, folder, Opinions(record, planner, data, folder))
    else:
        if options.round_to == MEASURED_STEPS:
            planner.allow(_measured_counts(record, planner, folder))
        decision = planner.decide(Budget(unit, value))  # type: ignore[arg-type]
    plan = dataclasses.replace(
        _plan(record, options.criterion, decision.keep),
        method_options=dataclasses.asdict(method),
        allocation=allocation,
        notes=decision.notes,
    )
    return Chosen(plan, decision.met, record.speed_search)


def plan_without_cuts(record: Record) -> PruningPlan:
    """The plan of a run that only splits layers, or in which that was enough."""
    if record.coverage is None:
        raise RuntimeError("coverage comes before the plan")
    return _plan(record, NOTHING, {group.name: tuple(range(group.n_channels)) for group in record.coverage.groups})


def _grown(record: Record, unit: str) -> float:
    """How much larger a share of the original's counts is as a share of the counts of the model with split layers."""
    if record.whole is None or record.coverage is None:
        return 1.0
    before, after = record.cost, record.coverage.cost
    return {"macs": before.macs / after.macs, "params": before.params / after.params}.get(unit, 1.0)


def _plan(record: Record, method: str, keep: Mapping[str, tuple[int, ...]]) -> PruningPlan:
    options, coverage, source = record.options, record.coverage, record.source
    if coverage is None:
        raise RuntimeError("coverage comes before the plan")
    cuts, attributes = expand(coverage.groups, keep, source.module)
    sizes = {group.name: group.n_channels for group in coverage.groups}
    macs, params = CostModel(coverage.cost, coverage.groups).predict({name: len(kept) for name, kept in keep.items()})
    unit, value = options.budget
    return PruningPlan(
        method=method,
        method_options={},
        allocation="local",
        budget={unit: value},
        round_to=options.round_to,
        seed=options.seed,
        groups={name: GroupPlan(sizes[name], kept) for name, kept in keep.items()},
        cuts=cuts,
        attributes=attributes,
        macs=(record.cost.macs, round(macs)),
        params=(record.cost.params, round(params)),
        source_sha256=source.sha256,
        versions={package: _version(package) for package in PACKAGES},
        preprocessing=source.preprocessing,
        rewrites=source.rewrites,
    )


def _measured_counts(record: Record, planner: Planner, folder: RunFolder) -> dict[str, list[int]]:
    """The counts that the run's targets like; empty, with a note, where they cannot be measured."""
    made = None
    if is_main_process():
        plans = time_plans(record, planner, Bench(record, folder), folder, planner.worth)
        made = plans.allowed if plans else {}
    return same_for_all(made, record.device) or {}


def _context(record: Record, data: Datasets, method: Any) -> MethodContext:
    if not method.needs & {"data", "labels"}:
        return MethodContext(record.source.module, record.options.seed, importance=record.importance)
    if data.train is None:
        raise DataError(
            f"method '{record.options.criterion}' needs data, but none was given. "
            "Add --data FOLDER, or choose --method l1."
        )
    if "labels" in method.needs:
        data.train.require_labels(f"method '{record.options.criterion}'")
    seed = record.options.seed
    return MethodContext(record.source.module, seed, _Batches(data.train, seed), _cross_entropy)


class _Batches:
    """The same few batches each time they are read."""

    def __init__(self, train: ImageDataset, seed: int) -> None:
        self.train = train
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(seed))
        self.order = order[: SCORING_BATCHES * SCORING_BATCH_SIZE].tolist()

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self.order), SCORING_BATCH_SIZE):
            pixels, labels = self.train.batch(self.order[start : start + SCORING_BATCH_SIZE])
            yield self.train.prepare(pixels), labels


def _cross_entropy(output: Any, labels: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(flatten_outputs(output)[0], labels)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
