"""How long the data-free methods take to choose half of the MACs of large models, as ratios to l1, and their memory.

Each method on each model is a process of its own, in which l1 and the method take turns, so that a busy machine slows
both. Memory is the growth of the process's peak while the method chose for the first time (only Linux tells). Weights
are random, one thread. `--repairs` measures recoveries in the same way: time and memory on --images images in memory,
of a model that l1 has cut; their times are seconds.

    python benchmarks/method_speed.py [--rounds 3] [--pairs resnet50:fpgm,resnet152:reprune] [--repairs resnet50:NAME]
        [--images 256] [--write-docs]

Finished measurements are kept in --work; `--write-docs` measures nothing, and writes the table into
benchmarks/results.md.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).parent))
from method_parts.cells import read, save
from method_parts.ours import plan_of
from method_parts.random_model import random_model
from method_parts.section import write_section
from zoo_parts.memory import Growth, growth_of_memory
from zoo_parts.processes import Limits, end_all, run_command
from zoo_parts.sentences import ROOT, in_one_line

from compressor.core.options import RunOptions
from compressor.core.plan import PruningPlan
from compressor.core.progress import SilentProgress
from compressor.core.protocols import RecoveryContext
from compressor.data.batches import from_batches
from compressor.profiling.machine import cpu_model
from compressor.runs.choose import METHODS
from compressor.runs.record import Record, Source
from compressor.runs.recover import RECOVERIES
from compressor.runs.rewriting import cover_rewritten
from compressor.surgery.cut import cut_copy
from exporters.signature import ExampleInputs

ON_RESNET152 = ("epruner", "reprune")  # whose cost grows fastest with the width
TRAINING = ("finetune",)  # the one recovery that is no repair
BASELINE = "l1"
MIB = 2**20
HEADING = "## Time to choose (`method_speed.py`)"
RESULTS = ROOT / "benchmarks" / "results.md"


@dataclass(frozen=True)
class Speed:
    """A method, or a repair, on one model."""

    model: str
    name: str
    seconds: tuple[float, ...] = ()
    l1_s: tuple[float, ...] = ()  # in turns with it; none beside a repair
    peak_mib: float | None = None  # resident, of the whole process
    growth_mib: float | None = None  # of the peak, beyond what was held before
    n_images: int = 0  # of a repair
    cpu: str = ""
    failure: str = ""


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if options.one is not None:
            measure(*options.one, options)
        elif options.write_docs is not None:
            write_section(options.write_docs, HEADING, section(_known(options), len(_wanted(options))))
        else:
            run(options)
    except KeyboardInterrupt:
        end_all()
        print("error: interrupted; the same command goes on with what is left", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def run(options: argparse.Namespace) -> None:
    """One process for each pair that has no file yet."""
    for kind, model, name in _wanted(options):
        path = speed_path(options.work, model, name)
        if read(Speed, path) is None:
            command = [sys.executable, __file__, "--one", kind, model, name, "--work", str(options.work)]
            command += ["--rounds", str(options.rounds), "--images", str(options.images), "--side", str(options.side)]
            ended = run_command(command, Limits(options.limit_s, options.memory_gib))
            if ended.reason:
                save(Speed(model, name, failure=in_one_line(ended.reason)), path)
        print(_line(read(Speed, path)), flush=True)


def measure(kind: str, model: str, name: str, options: argparse.Namespace) -> None:
    """What one of those processes does."""
    torch.set_num_threads(1)
    subject = _Subject(model, options.side)
    found = subject.repair(name, options) if kind == "repair" else subject.choose(name, options)
    save(found, speed_path(options.work, model, name))


class _Subject:
    """A torchvision model with random weights, and its groups."""

    def __init__(self, name: str, side: int) -> None:
        self.name, self.side = name, side
        model = random_model(f"torchvision:{name}")
        inputs = ExampleInputs.of(torch.randn(1, 3, side, side), model)
        source, coverage = cover_rewritten(Source(model, inputs, name, "here"))
        self.record = Record(source, RunOptions(), SilentProgress(), coverage)

    def choose(self, method: str, options: argparse.Namespace) -> Speed:
        """Both take turns; the first turn of each, which loads code, only says how much memory is needed."""
        self._seconds(BASELINE)
        with growth_of_memory() as memory:
            self._seconds(method)
        seconds, l1_s = [], []
        for number in range(options.rounds):
            turns = [(BASELINE, l1_s), (method, seconds)]
            for name, times in turns if number % 2 == 0 else turns[::-1]:
                times.append(self._seconds(name))
        return Speed(self.name, method, tuple(seconds), tuple(l1_s), *_mib(memory), cpu=cpu_model())

    def repair(self, recovery: str, options: argparse.Namespace) -> Speed:
        """Once, since it changes the model."""
        plan, source, coverage = self._plan(BASELINE), self.record.source, self.record.coverage
        small = cut_copy(source.module, plan.cuts, plan.attributes)
        train = from_batches(torch.randn(options.images, 3, self.side, self.side))
        context = RecoveryContext(small, source.module, plan, coverage.groups, source.inputs, train)
        plugin = RECOVERIES.load(recovery)()
        with growth_of_memory() as memory:
            start = time.perf_counter()
            plugin.apply(context, SilentProgress())
            seconds = time.perf_counter() - start
        return Speed(self.name, recovery, (seconds,), (), *_mib(memory), options.images, cpu_model())

    def _seconds(self, method: str) -> float:
        start = time.perf_counter()
        self._plan(method)
        return time.perf_counter() - start

    def _plan(self, method: str) -> PruningPlan:
        return plan_of(replace(self.record, options=replace(self.record.options, method=method)))


def section(found: Sequence[Speed], n_wanted: int) -> str:
    """The table, and how much of it is missing."""
    lines = [
        "Half of the MACs, random weights, one thread; medians of turns with `l1`, and the range of the ratios.",
        "Memory: growth of the process's peak, and the peak itself, the model in it. Repairs stand without a ratio.",
        "",
        *([f"**{n_wanted - len(found)} have not been measured yet.**", ""] if len(found) < n_wanted else []),
        "| model | method | seconds | times l1's | memory |",
        "|---|---|---|---|---|",
        *(_row(speed) for speed in found),
    ]
    machines = sorted({speed.cpu for speed in found if speed.cpu})
    return "\n".join([*lines, "", *(f"Machine: {cpu}." for cpu in machines)])


def _row(speed: Speed) -> str:
    if speed.failure:
        return f"| {speed.model} | {speed.name} | **{speed.failure}** | | |"
    ratios = [own / l1 for own, l1 in zip(speed.seconds, speed.l1_s, strict=False)]
    times = f"{median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})" if ratios else "–"
    name = f"{speed.name}, {speed.n_images} images" if speed.n_images else speed.name
    memory = "–" if speed.growth_mib is None else f"{speed.growth_mib:.0f} MiB of {speed.peak_mib:.0f}"
    return f"| {speed.model} | {name} | {median(speed.seconds):.2f} | {times} | {memory} |"


def _line(speed: Speed) -> str:
    return _row(speed).strip("| ").replace(" | ", "  ")


def speed_path(work: Path, model: str, name: str) -> Path:
    """The file of one measurement."""
    return work / f"{model}-{name}.json"


def _known(options: argparse.Namespace) -> list[Speed]:
    found = [read(Speed, speed_path(options.work, model, name)) for _, model, name in _wanted(options)]
    return [speed for speed in found if speed is not None]


def _wanted(options: argparse.Namespace) -> list[tuple[str, str, str]]:
    """("method" or "repair", model, name); by default every data-free method and every repair."""
    free = [name for name in METHODS.names() if not METHODS.load(name).needs & {"data", "labels"}]
    pairs = [f"resnet50:{name}" for name in free]
    pairs += [f"resnet152:{name}" for name in ON_RESNET152 if name in free]
    repairs = [f"resnet50:{name}" for name in RECOVERIES.names() if name not in TRAINING]
    if options.pairs or options.repairs:
        pairs, repairs = options.pairs, options.repairs
    kinds = [("method", pair) for pair in pairs] + [("repair", pair) for pair in repairs]
    return [(kind, *pair.split(":", 1)) for kind, pair in kinds]


def _mib(memory: Growth) -> tuple[float | None, float | None]:
    """Peak and growth, where the system tells them."""
    return tuple(None if size is None else size / MIB for size in (memory.peak_bytes, memory.growth_bytes))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = {"type": lambda text: text.split(","), "default": [], "metavar": "MODEL:NAME,..."}
    parser.add_argument("--pairs", **names, help="default: data-free methods on resnet50, some on resnet152")
    parser.add_argument("--repairs", **names, help="default: all on resnet50")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=256, help="of a repair")
    parser.add_argument("--side", type=int, default=224, help="of an image, in pixels")
    parser.add_argument("--limit-s", type=float, default=1800.0, help="seconds for one process")
    parser.add_argument("--memory-gib", type=float, default=12.0, help="memory for one process")
    parser.add_argument("--write-docs", type=Path, nargs="?", const=RESULTS, metavar="FILE", help="measure nothing")
    parser.add_argument("--work", type=Path, default=ROOT / "benchmarks" / "work" / "method_speed")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)  # what one process measures
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
