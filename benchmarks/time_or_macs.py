"""What it buys to plan in measured time instead of multiply-accumulates: accuracy at equal latency, on real weights.

Arms with the same importance (`l1`) and images, no training: widths planned in time (`--speedup`), widths planned in
multiply-accumulates (`--macs`, the default spread) at the default alignment and at any width (`--round-to 1`, as tools
do that only count), these repaired by least squares on 512 unlabelled images, and torch-pruning's uniform pruning with
l1, repaired by re-estimated norms (least squares needs a plan). Each arm is cut to several sizes; all files of one
network are timed against the original in turns. An arm's accuracy at another's speed is interpolated between its own
points. Goes on where it was stopped. The machine has to be idle.

    python benchmarks/time_or_macs.py [--models resnet20,resnet56] [--write-docs]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
import cifar_resnet
from method_parts import rival
from method_parts.arguments import names, shares
from method_parts.cells import Choice, Chosen, read, save
from method_parts.ours import plan_of
from method_parts.repairs import Repairs
from method_parts.section import write_section
from method_parts.subject import LOCAL, Places, Subject, subjects
from zoo_parts.sentences import ROOT

from compressor.core.progress import SilentProgress
from compressor.profiling.statistics import ratio_of
from compressor.profiling.timer import measure
from compressor.runs.record import Record
from compressor.surgery.cut import cut_copy
from compressor.targets import factory_of
from exporters.export import export

TIME, MACS, RIVAL = "planned in time", "planned in MACs", "torch-pruning, uniform"
ANY_WIDTH = "planned in MACs, any width"
ARMS = (TIME, MACS, ANY_WIDTH, RIVAL)
TARGET = "onnxruntime:cpu"
REPAIRS = {TIME: "least_squares", MACS: "least_squares", ANY_WIDTH: "least_squares", RIVAL: "bn_reestimate"}
N_IMAGES = 5000  # of the test set
HEADING = "## Planned in time or in MACs (`time_or_macs.py`)"
RESULTS = ROOT / "benchmarks" / "results.md"


@dataclass(frozen=True)
class Point:
    """One small model."""

    model: str
    arm: str
    asked: float  # times as fast, or the share of the MACs
    macs_share: float
    percent: float  # top-1 accuracy after the repair
    speed: float = 0.0  # times as fast as the original; 0: not timed yet
    interval: tuple[float, float] = (0.0, 0.0)  # 95 %


def main() -> int:
    options = _options()
    torch.set_num_threads(1)
    if options.write_docs is not None:
        write_section(options.write_docs, HEADING, section(options))
        return 0
    for subject in subjects(
        options.models, Places(options.architectures, options.weights, options.data), N_IMAGES
    ).values():
        run(subject, options)
    return 0


def run(subject: Subject, options: argparse.Namespace) -> None:
    """Makes what is missing, then times all files of the network together, anew."""
    folder: Path = options.work / subject.name
    for arm, asked in _every(options):
        path = _path(options, subject.name, arm, asked)
        if read(Point, path) is None:
            point, repaired = _made(subject, arm, asked)
            export(repaired, subject.source.inputs, ["onnx"], folder, path.stem)
            save(point, path)
            print(
                f"{subject.name} {arm} {asked:g}: {point.macs_share:.1%} of the MACs, {point.percent:.2f} %", flush=True
            )
    export(subject.source.original, subject.source.inputs, ["onnx"], folder, "original")
    points = [(arm, asked, _path(options, subject.name, arm, asked)) for arm, asked in _every(options)]
    for arm, asked, path in points:
        files = [folder / "original.onnx", path.with_suffix(".onnx")]
        base, small = measure(files, TARGET, factory_of(TARGET), processes=6, seconds=4.0)
        speed = ratio_of(base, small)
        save(replace(_known(path), speed=speed.value, interval=(speed.low, speed.high)), path)
        print(f"{subject.name} {arm} {asked:g}: {speed.value:.2f}x [{speed.low:.2f}, {speed.high:.2f}]", flush=True)


def _made(subject: Subject, arm: str, asked: float) -> tuple[Point, nn.Module]:
    chosen, cut = _cut(subject, arm, asked)
    repairs = Repairs(subject, chosen, cut)
    found = repairs.measure(REPAIRS[arm])
    if found.failure:
        raise SystemExit(f"error: {arm} {asked:g}: {found.failure}")
    share = subject.macs(cut) / subject.macs()
    return Point(subject.name, arm, asked, share, found.top1_percent), repairs.repaired(REPAIRS[arm])


def _cut(subject: Subject, arm: str, asked: float) -> tuple[Chosen, nn.Module]:
    if arm == RIVAL:
        chosen = rival.decide(subject, Choice(subject.name, f"{rival.PREFIX}l1", rival.INNER, asked, 0))
        return chosen, rival.cut(subject, chosen)
    source, coverage = subject.whole
    options = replace(subject.options, method="l1", export=("onnx",))
    budget = {
        TIME: {"speedup": asked, "on": (TARGET,)},
        MACS: {"macs": asked},
        ANY_WIDTH: {"macs": asked, "round_to": 1},
    }[arm]
    record = Record(source, replace(options, **budget), SilentProgress(), coverage)
    plan = plan_of(record, subject.data)
    choice = Choice(subject.name, "l1", LOCAL, asked, 0)
    return Chosen(choice, plan=plan), cut_copy(source.module, plan.cuts, plan.attributes)


def section(options: argparse.Namespace) -> str:
    """The points, and what each arm would have at the speed of those planned in time."""
    lines = [
        f"Top-1 accuracy on {N_IMAGES:,} test images, no training; ours after least squares on 512 unlabelled images,",
        "torch-pruning's after re-estimating norms (least squares needs a plan). Any width: `--round-to 1`.",
        f"On `{TARGET}`, one thread, batch 1, all files of one network timed against its original. At equal speed and",
        "at equal accuracy the other arms are interpolated between their own points (– where these do not reach).",
    ]
    for model in options.models:
        known = {arm: _points(options, model, arm) for arm in ARMS}
        lines += ["", f"### {model}", "", "| arm | asked | MACs left | speed | top-1 |", "|---|---|---|---|---|"]
        for arm in ARMS:
            for p in sorted(known[arm], key=lambda point: point.speed):
                asked = f"{p.asked:g}x" if arm == TIME else f"{p.asked:.0%}"
                speed = f"{p.speed:.2f}x [{p.interval[0]:.2f}, {p.interval[1]:.2f}]"
                lines.append(f"| {arm} | {asked} | {p.macs_share:.1%} | {speed} | {p.percent:.1f} % |")
        others = [arm for arm in ARMS if arm != TIME]
        head = [
            f"{arm}: {what}"
            for arm in others
            for what in ("points better at equal speed", "times faster at equal top-1")
        ]
        lines += ["", f"| {TIME} | {' | '.join(head)} |", "|" + "---|" * (1 + len(head))]
        for p in sorted(known[TIME], key=lambda point: point.speed):
            cells = [f"{p.speed:.2f}x, {p.percent:.1f} %"]
            for arm in others:
                there = _at([(q.speed, q.percent) for q in known[arm]], p.speed)
                faster = _at([(q.percent, q.speed) for q in known[arm]], p.percent)
                cells += ["–" if there is None else f"{p.percent - there:+.1f}"]
                cells += ["–" if faster is None else f"{p.speed / faster:.2f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _at(points: list[tuple[float, float]], x: float) -> float | None:
    """Between neighbours; None outside of what was measured."""
    points = sorted(points)
    if len(points) < 2 or not points[0][0] <= x <= points[-1][0]:
        return None
    return float(np.interp(x, [a for a, _ in points], [b for _, b in points]))


def _points(options: argparse.Namespace, model: str, arm: str) -> list[Point]:
    paths = [_path(options, model, arm, asked) for each, asked in _every(options) if each == arm]
    found = [read(Point, path) for path in paths]
    return [point for point in found if point is not None and point.speed]


def _known(path: Path) -> Point:
    point = read(Point, path)
    if point is None:
        raise SystemExit(f"error: {path}: cannot be read")
    return point


def _every(options: argparse.Namespace) -> Iterator[tuple[str, float]]:
    yield from ((TIME, speed) for speed in options.speedups)
    yield from ((arm, share) for arm in ARMS if arm != TIME for share in options.shares)


def _path(options: argparse.Namespace, model: str, arm: str, asked: float) -> Path:
    work: Path = options.work
    return work / model / f"{arm.replace(' ', '_').replace(',', '')}-{round(100 * asked)}.json"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=Path("../shared/weights"), help="folder of NAME_cifar10.pt")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cifar10"), help="train.parquet, test.parquet")
    parser.add_argument("--architectures", type=Path, default=Path(cifar_resnet.__file__), metavar="FILE.py")
    parser.add_argument("--models", type=names, default="resnet20,resnet56")
    parser.add_argument(
        "--speedups", type=lambda text: [float(n) for n in text.split(",")], default="1.15,1.3,1.45,1.6"
    )
    parser.add_argument("--shares", type=shares, default="85%,70%,60%,50%,40%,30%", help="of the MACs")
    parser.add_argument("--write-docs", type=Path, nargs="?", const=RESULTS, metavar="FILE", help="measure nothing")
    parser.add_argument("--work", type=Path, default=ROOT / "benchmarks" / "work" / "time_or_macs")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
