"""`--speedup` through the command line: what was asked for, and what the files that were written reach.

Each model, target, number of threads and speed-up is one process and one JSON file in --work: the benchmark goes on
where it was stopped. Random weights (ResNet-56: real ones), batch 1, no repair. A run that could not reach what was
asked for has to say so with exit code 7. `--write-docs` measures nothing, and writes the table into
benchmarks/results.md. The machine has to be idle.

    python benchmarks/speed_contract.py [--models resnet50] [--speedups 1.5,2] [--threads 1,2] [--write-docs]
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import cifar_resnet
from method_models import make_weights
from method_parts.arguments import some_of
from method_parts.cells import read, save
from method_parts.section import write_section
from zoo_parts.processes import Limits, end_all, run_command
from zoo_parts.sentences import ROOT, in_one_line

REAL = "resnet56"
MODELS = ("resnet50", "mobilenet_v3_small", "densenet121", "vit_b_16", REAL)
BAND = (0.97, 1.15)  # of what was asked for: less breaks the promise, more loses accuracy for nothing
FORMATS = {"onnxruntime:cpu": "onnx", "openvino:cpu": "openvino"}
LIMIT = Limits(1800.0, 10.0)  # seconds, GiB
REACHED, MISSED, FAILED = "reached", "missed", "failed"
EXIT_CODES = {0: REACHED, 7: MISSED}
HEADING = "## Speed-ups that were asked for (`speed_contract.py`)"
RESULTS = ROOT / "benchmarks" / "results.md"


@dataclass(frozen=True)
class Asked:
    """One command."""

    model: str
    target: str
    threads: int
    speedup: float

    def __str__(self) -> str:
        return f"{self.model} {self.speedup:g}x {self.target} threads {self.threads}"


@dataclass(frozen=True)
class Got:
    """What came of it."""

    asked: Asked
    outcome: str
    ratio: float = 0.0  # of the files that were written
    interval: tuple[float, float] = (0.0, 0.0)  # 95 %
    macs_share: float = 0.0
    n_timed: int = 0  # models on the way
    seconds: float = 0.0  # of the whole command
    sentence: str = ""


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if options.write_docs is not None:
            write_section(options.write_docs, HEADING, section(options))
        else:
            run(options)
    except KeyboardInterrupt:
        end_all()
        print("error: interrupted; the same command goes on with what is left", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def run(options: argparse.Namespace) -> None:
    """Every command that has no file yet."""
    waiting = [asked for asked in _every(options) if read(Got, _path(options, asked)) is None]
    for number, asked in enumerate(waiting, 1):
        got = _one(asked, options)
        save(got, _path(options, asked))
        low, high = got.interval
        said = got.sentence or f"{got.ratio:.2f}x [{low:.2f}, {high:.2f}], {got.macs_share:.1%} of the MACs"
        print(f"[{number}/{len(waiting)}] {asked}: {got.outcome}, {said} ({got.seconds:.0f} s)", flush=True)


def _one(asked: Asked, options: argparse.Namespace) -> Got:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "run"
        command = [sys.executable, "-m", "compressor", *_source(asked.model, options)]
        command += ["--speedup", f"{asked.speedup}x", "--on", asked.target, "--quiet"]
        command += ["--threads", str(asked.threads), "--export", FORMATS[asked.target], "--recover", "none"]
        ended = run_command([*command, "-o", str(output)], LIMIT)
        outcome = EXIT_CODES.get(ended.exit_code, FAILED)
        if outcome == FAILED:
            return Got(asked, FAILED, seconds=ended.seconds, sentence=in_one_line(ended.reason or ended.last_line))
        report = json.loads((output / "report.json").read_text())
    (row,) = report["latency"]
    macs = report["macs"]["after"] / report["macs"]["before"]
    n_timed = len({timed["macs_share"] for timed in report["speed_search"]["rows"]})
    return Got(asked, outcome, row["ratio"], tuple(row["interval"]), macs, n_timed, ended.seconds)


def _source(model: str, options: argparse.Namespace) -> list[str]:
    """The words that name a model and its inputs."""
    if model == REAL:
        weights = options.weights / f"{REAL}_cifar10.pt"
        return [str(weights), "--arch", f"{cifar_resnet.__file__}:{REAL}", "--input", "1x3x32x32"]
    weights = make_weights(model, options.work)
    return [str(weights), "--arch", f"torchvision:{model}", "--input", "1x3x224x224"]


def section(options: argparse.Namespace) -> str:
    """The table of what is there."""
    lines = [
        "Random weights, batch 1. Reached: the whole 95 % interval of the files that were written is at least what was",
        f"asked for. Of asked: the measured ratio over it, which should lie in {BAND[0]} to {BAND[1]}. Timed: how many",
        "models were, on the way.",
        "",
        "| model | target | threads | asked | measured | of asked | MACs left | timed | outcome | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    n_missing = 0
    for asked in _every(options):
        got = read(Got, _path(options, asked))
        if got is None:
            n_missing += 1
            continue
        measured = got.sentence or f"{got.ratio:.2f}x [{got.interval[0]:.2f}, {got.interval[1]:.2f}]"
        cells = [asked.model, asked.target, str(asked.threads), f"{asked.speedup:g}x", measured]
        cells += [f"{got.ratio / asked.speedup:.2f}", f"{got.macs_share:.1%}", str(got.n_timed), got.outcome]
        cells += [f"{got.seconds:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, *(["", f"**{n_missing} have not been run yet.**"] if n_missing else [])])


def _every(options: argparse.Namespace) -> Iterator[Asked]:
    for each in itertools.product(options.models, options.targets, options.threads, options.speedups):
        yield Asked(*each)


def _path(options: argparse.Namespace, asked: Asked) -> Path:
    work: Path = options.work
    return work / f"{asked.model}-{asked.target.replace(':', '_')}-{asked.threads}-{asked.speedup:g}.json"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=some_of(MODELS), default=",".join(MODELS))
    parser.add_argument("--targets", type=some_of(list(FORMATS)), default=",".join(FORMATS))
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default="1,2")
    parser.add_argument("--speedups", type=lambda text: [float(n) for n in text.split(",")], default="1.5,2")
    parser.add_argument("--weights", type=Path, default=Path("../shared/weights"), help="folder of NAME_cifar10.pt")
    parser.add_argument("--write-docs", type=Path, nargs="?", const=RESULTS, metavar="FILE", help="measure nothing")
    parser.add_argument("--work", type=Path, default=ROOT / "benchmarks" / "work" / "speed_contract")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
