"""How well latency tables predict whole models, what they cost to measure, and how long plans take from them.

For each model and target: builds the tables from nothing, asks again (nothing may be measured then), works out the
plans, and times random choices of widths against the original, in turns. Nothing of the user's cache is used. The
machine has to be idle.

    python benchmarks/latency_tables.py [--models resnet50] [--targets onnxruntime:cpu,openvino:cpu] [--write-docs]
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torchvision
from scipy import stats

sys.path.insert(0, str(Path(__file__).parent))
from method_parts.arguments import some_of
from method_parts.cells import read, save
from method_parts.section import write_section
from zoo_parts.sentences import ROOT

from compressor.core.options import RunOptions
from compressor.core.progress import SilentProgress
from compressor.core.protocols import MethodContext
from compressor.latency.store import FOLDER_VARIABLE
from compressor.planning.planner import Planner
from compressor.profiling.statistics import ratio_of
from compressor.runs.bench import Bench, Effort
from compressor.runs.choose import make_method
from compressor.runs.coverage import cover
from compressor.runs.folder import RunFolder
from compressor.runs.record import Record, Source
from compressor.runs.tables import TimePlans, frontier_of, time_plans
from exporters.signature import ExampleInputs

MODELS = ("resnet50", "mobilenet_v3_small", "densenet121")
TARGETS = ("onnxruntime:cpu", "openvino:cpu")
EFFORT = Effort(4, 2.0)
HEADING = "## Latency tables (`latency_tables.py`)"
RESULTS = ROOT / "benchmarks" / "results.md"


@dataclass(frozen=True)
class Got:
    """One model on one target."""

    model: str
    target: str
    threads: int
    build_s: float  # tables and plans, after the original was exported
    again_s: float  # the same with the tables there
    plan_s: float  # plans alone, from tables
    n_timed: int  # models
    n_timed_again: int
    predicted: tuple[float, ...]  # times as fast as the original
    measured: tuple[float, ...]

    @property
    def error(self) -> float:
        """Median of |predicted / measured - 1|."""
        return float(np.median(np.abs(np.array(self.predicted) / np.array(self.measured) - 1)))

    @property
    def rank_correlation(self) -> float:
        """Spearman's."""
        return float(stats.spearmanr(self.predicted, self.measured).statistic)


def main() -> int:
    options = _options()
    if options.write_docs is not None:
        write_section(options.write_docs, HEADING, section(options))
        return 0
    for name in options.models:
        for target in options.targets:
            path = _path(options, name, target)
            if read(Got, path) is None:
                got = measured(name, target, options)
                save(got, path)
                print(f"{name} on {target}: {_row(got)}", flush=True)
    return 0


def measured(name: str, target: str, options: argparse.Namespace) -> Got:
    """Everything anew, in folders of its own."""
    torch.manual_seed(0)
    model = getattr(torchvision.models, name)().eval()
    inputs = ExampleInputs.of(torch.randn(1, 3, 224, 224), model)
    chosen = RunOptions(speedup=2.0, on=(target,), export=("onnx",), threads=options.threads)
    record = Record(Source(model, inputs, name, ""), chosen, SilentProgress())
    record.coverage = cover(model, inputs)
    planner = Planner(
        record.coverage.groups, record.coverage.cost, make_method("l1", ()), MethodContext(model), "local"
    )
    with tempfile.TemporaryDirectory() as room:
        os.environ[FOLDER_VARIABLE] = str(Path(room, "cache"))
        folder = RunFolder(Path(room))
        folder.work.mkdir()
        bench = Bench(record, folder)
        bench.original_file("onnx")
        plans, build_s, n_timed = _timed(record, planner, bench, folder)
        plans, again_s, n_again = _timed(record, planner, bench, folder)
        start = time.perf_counter()
        frontier_of(plans.models, plans.counts, planner.worth())
        plan_s = time.perf_counter() - start
        predicted, found = [], []
        for n_keep in _random_widths(plans, options.choices):
            path = plans.write(Path(room, "widths.onnx"), n_keep)
            found.append(ratio_of(*bench.pair(target, (plans.whole, path), EFFORT)).value)
            table = plans.models[target]
            predicted.append(table.whole({}) / table.whole(n_keep))
    return Got(
        name, target, options.threads, build_s, again_s, plan_s, n_timed, n_again, tuple(predicted), tuple(found)
    )


def _timed(record: Record, planner: Planner, bench: Bench, folder: RunFolder) -> tuple[TimePlans, float, int]:
    """The plans, the seconds, and how many models were timed for them."""
    n_before = _n_kept()
    start = time.perf_counter()
    plans = time_plans(record, planner, bench, folder, planner.worth)
    if plans is None:
        raise SystemExit(f"error: {record.notes[-1]}")
    return plans, time.perf_counter() - start, _n_kept() - n_before


def _n_kept() -> int:
    """Models in all tables of the cache."""
    tables = Path(os.environ[FOLDER_VARIABLE]).glob("latency/*/*/*.json")
    return sum(path.read_text().count('"whole_s"') for path in tables)


def _random_widths(plans: TimePlans, n: int) -> list[dict[str, int]]:
    """Each group near a share of its own around one share for all, on the counts that plans use."""
    generator = random.Random(1)
    found = []
    for _ in range(n):
        share = generator.uniform(0.15, 0.95)
        wanted = {name: share * generator.uniform(0.6, 1.4) * grid[-1] for name, grid in plans.counts.items()}
        found.append({name: min(plans.counts[name], key=lambda c, w=w: abs(c - w)) for name, w in wanted.items()})
    return found


def _row(got: Got) -> str:
    return (
        f"error {got.error:.1%}, rank correlation {got.rank_correlation:.3f}, built in {got.build_s:.0f} s "
        f"({got.n_timed} models), again in {got.again_s:.1f} s ({got.n_timed_again}), plans in {got.plan_s:.1f} s"
    )


def section(options: argparse.Namespace) -> str:
    """The table of what is there."""
    lines = [
        "Random weights, batch 1. Error: median of |predicted / measured - 1| of the speed-up over random choices of",
        "widths, none of which the tables have seen. Built: tables and plans from nothing, two exports at other widths",
        "among them. Again: the same once more, and how many models were timed then.",
        "",
        "| model | target | threads | choices | error | rank correlation | built, s | models | again, s | models "
        "| plans, s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in options.models:
        for target in options.targets:
            got = read(Got, _path(options, name, target))
            if got is None:
                lines.append(f"| {name} | {target} | {options.threads} | not run yet | | | | | | | |")
                continue
            cells = [name, target, str(got.threads), str(len(got.measured)), f"{got.error:.1%}"]
            cells += [f"{got.rank_correlation:.3f}", f"{got.build_s:.0f}", str(got.n_timed)]
            cells += [f"{got.again_s:.1f}", str(got.n_timed_again), f"{got.plan_s:.1f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _path(options: argparse.Namespace, name: str, target: str) -> Path:
    work: Path = options.work
    return work / f"{name}-{target.replace(':', '_')}-{options.threads}.json"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=some_of(MODELS), default=",".join(MODELS))
    parser.add_argument("--targets", type=some_of(TARGETS), default=",".join(TARGETS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--choices", type=int, default=20)
    parser.add_argument("--write-docs", type=Path, nargs="?", const=RESULTS, metavar="FILE", help="measure nothing")
    parser.add_argument("--work", type=Path, default=ROOT / "benchmarks" / "work" / "latency_tables")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
