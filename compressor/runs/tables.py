"""Plans in time: latency tables of every target, what channels are worth, and the best widths for any time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from compressor.core.errors import CompressionError
from compressor.graph.extents import Extents
from compressor.latency.build import Tabulation
from compressor.latency.model import LatencyModel
from compressor.latency.store import Store, place_of
from compressor.planning.frontier import Candidates, Frontier, without_dominated
from compressor.planning.planner import Planner
from compressor.profiling.machine import machine_facts
from compressor.profiling.nodes import NodeProfiler
from compressor.report.schema import TableRow
from compressor.runs.bench import Bench
from compressor.runs.elastic import NotElastic, elastic_file, extents_of, narrowable
from compressor.runs.folder import RunFolder
from compressor.runs.record import Record
from compressor.targets import factory_of, load_target
from exporters.elastic.file import ElasticFile
from exporters.errors import ExportError

ONNX = "onnx"
FREE = 0.002  # of the original's time, all groups together: a wider count that costs no more than its part is free
MOST_COUNTS = 32  # of one group


@dataclass(frozen=True)
class TimePlans:
    """Widths for any share of the original's time, and files of them to time."""

    file: ElasticFile
    extents: Extents
    models: dict[str, LatencyModel]  # by target
    counts: dict[str, list[int]]  # that each group may have
    frontier: Frontier
    whole: Path  # the original's ONNX file

    @property
    def allowed(self) -> dict[str, list[int]]:
        """Of `counts`, those that cost less than every wider one."""
        return self.frontier.counts

    @property
    def rows(self) -> tuple[TableRow, ...]:
        """For the report."""
        return tuple(
            TableRow(name, model.fitted.n_samples, model.fitted.error, model.fitted.unexplained_share)
            for name, model in self.models.items()
        )

    def write(self, path: Path, n_keep: Mapping[str, int]) -> Path:
        """The model's file at these widths, without exporting it."""
        return self.file.write(path, self.extents.at(n_keep))


class Slowest:
    """The share of its own time that the model takes on the target where it gains least."""

    def __init__(self, models: Sequence[LatencyModel]) -> None:
        self._models = [(model, model.whole({})) for model in models]

    def whole(self, n_keep: Mapping[str, int]) -> float:
        """Share of the original's time."""
        return max(model.whole(n_keep) / original for model, original in self._models)

    def alternatives(self, n_keep: Mapping[str, int], group: str, counts: np.ndarray) -> np.ndarray:
        """The same with one group at each of `counts`; but for a constant where there is one target."""
        if len(self._models) == 1:
            model, original = self._models[0]
            return model.alternatives(n_keep, group, counts) / original
        here = np.array([n_keep[group]])
        found = []
        for model, original in self._models:
            costs = model.alternatives(n_keep, group, np.concatenate([counts, here]))
            found.append((model.whole(n_keep) + costs[:-1] - costs[-1]) / original)
        return np.max(found, axis=0)

    def on_average(self, n_keep: Mapping[str, int], group: str, counts: np.ndarray) -> np.ndarray:
        """As `alternatives`, with the mean of the targets: what saves time on none of them is seen as such."""
        shares = [model.alternatives(n_keep, group, counts) / original for model, original in self._models]
        return np.mean(shares, axis=0)


def time_plans(
    record: Record, planner: Planner, bench: Bench, folder: RunFolder, worth: Callable[[], Mapping[str, np.ndarray]]
) -> TimePlans | None:
    """Measured tables and the plans that follow; None, with a note that says why, where there cannot be any.

    Args:
        worth: works out what keeping k channels of each group is worth, k from 0 to all; called after the tables.
    """
    foreign = [name for name in bench.targets if ".onnx" not in load_target(name)().accepts]
    if foreign:
        record.note(_instead(f"{foreign[0]} reads no ONNX files."))
        return None
    extents = extents_of(record)
    whole = bench.original_file(ONNX).path
    try:
        file = elastic_file(record, whole, extents, folder)
    except (NotElastic, ExportError) as error:
        record.note(_instead(f"in ONNX files at other widths, {error}"))
        return None
    models: dict[str, LatencyModel] = {}
    try:
        with ExitStack() as stack:
            tables = {name: _tabulation(record, name, file, extents, bench, stack) for name in bench.targets}
            fixed = max(0, record.options.round_to)
            step = fixed or max(each.finest_step(partial(_grids, planner)) for each in tables.values())
            counts = {name: _thinned(found) for name, found in _grids(planner, step).items()}
            for name, each in tables.items():
                models[name] = each.build(counts)
    except CompressionError as error:
        record.note(_instead(str(error)))
        return None
    return TimePlans(file, extents, models, counts, frontier_of(models, counts, worth()), whole)


def frontier_of(
    models: Mapping[str, LatencyModel], counts: Mapping[str, Sequence[int]], worth: Mapping[str, np.ndarray]
) -> Frontier:
    """The best widths for any share of the original's time, all targets together."""
    cost = Slowest(list(models.values()))
    return Frontier(_candidates(counts, worth, cost), cost)


def _tabulation(
    record: Record, target: str, file: ElasticFile, extents: Extents, bench: Bench, stack: ExitStack
) -> Tabulation:
    options = record.options
    details = load_target(target)().describe()
    place = place_of(machine_facts(), target, details, options.threads, options.batch_size)
    profiler = NodeProfiler(
        target,
        factory_of(target),
        threads=options.threads,
        batch_size=options.batch_size,
        shapes=bench.shapes,
    )
    opened = stack.enter_context(profiler)
    room = Path(stack.enter_context(TemporaryDirectory(prefix="compressor-tables-")))
    store = Store(place, record.note)
    return Tabulation(file, extents, opened, store, room, record.progress, target)


def _candidates(
    counts: Mapping[str, Sequence[int]], worth: Mapping[str, np.ndarray], cost: Slowest
) -> dict[str, Candidates]:
    """Counts that somebody may choose: none that costs as much as a wider one of its group."""
    whole = {name: found[-1] for name, found in counts.items()}
    candidates = {}
    for name, found in counts.items():
        numbers = np.array(found)
        costs = list(cost.on_average(whole, name, numbers))
        candidates[name] = without_dominated(Candidates(numbers, worth[name][numbers]), costs, FREE / len(counts))
    return candidates


def _grids(planner: Planner, step: int) -> dict[str, list[int]]:
    """Counts of each group; only the whole where files cannot be written with fewer."""
    counts = planner.counts(step)
    return {g.name: counts[g.name] if narrowable(g) else counts[g.name][-1:] for g in planner.groups}


def _thinned(counts: Sequence[int]) -> list[int]:
    """At most `MOST_COUNTS` of them, evenly, the last among them."""
    stride = -(-len(counts) // MOST_COUNTS)
    return list(counts[::-1][::stride][::-1])


def _instead(reason: str) -> str:
    return f"Widths were sought by their share of the MACs instead of measured tables: {reason}"
