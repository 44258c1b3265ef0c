"""Widths that a 30 % cut leaves odd: MobileNetV2, the case of Torch-Pruning's issue 38 (pruned, and slower).

With the defaults no file may be slower than the original's, on either CPU runtime. `--round-to 1` is the control: every
layer loses exactly its share, whatever width that leaves. Random weights, batch 1, no repair; original and compressed
file take turns in the same processes. Each command is one process and one JSON file in --work: the benchmark goes on
where it was stopped. `--write-docs` measures nothing, and writes the table into benchmarks/results.md. The machine has
to be idle. Exit code 1 where a file is slower with the defaults.

    python benchmarks/odd_widths.py [--budgets ratio=0.3,macs=70%] [--round-to default,1] [--threads 1,2] [--write-docs]
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from method_parts.arguments import names, some_of
from method_parts.cells import read, save
from method_parts.section import write_section
from zoo_parts.processes import Limits, end_all, run_command
from zoo_parts.sentences import ROOT, in_one_line

ARCH, INPUT = "torchvision:mobilenet_v2", "1x3x224x224"
TARGETS = {"onnxruntime:cpu": "onnx", "openvino:cpu": "openvino"}
DEFAULT = "default"
LIMIT = Limits(1800.0, 10.0)  # seconds, GiB
WRITTEN = (0, 7)  # exit codes of runs with files; 7: the steps of widths do not allow what was asked for
BLOCK = 8  # channels; what runtimes compute together at least
SLOWER = "slower"
HEADING = "## Widths that a 30 % cut leaves odd (`odd_widths.py`)"
RESULTS = ROOT / "benchmarks" / "results.md"


@dataclass(frozen=True)
class Case:
    """One command, for all targets."""

    budget: str  # "ratio=0.3"
    round_to: str  # "default", or a number
    threads: int

    def __str__(self) -> str:
        return f"--{self.budget.replace('=', ' ')}, --round-to {self.round_to}, threads {self.threads}"


@dataclass(frozen=True)
class Time:
    """Original over compressed on one target."""

    target: str
    ratio: float
    interval: tuple[float, float]  # 95 %
    verdict: str  # "faster", "slower", "no significant difference"
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Got:
    """What came of it."""

    case: Case
    times: tuple[Time, ...] = ()
    macs_share: float = 0.0
    n_layers: int = 0  # that lost channels
    n_odd: int = 0  # of them, whose width is now no multiple of 8
    seconds: float = 0.0  # of the whole command
    failure: str = ""  # a sentence; then there is nothing else
    machine: dict[str, str] = field(default_factory=dict)


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
    return 1 if slower_with_defaults(options) else 0


def run(options: argparse.Namespace) -> None:
    """Every command that has no file yet."""
    waiting = [case for case in _every(options) if read(Got, _path(options, case)) is None]
    for number, case in enumerate(waiting, 1):
        got = _one(case, options)
        save(got, _path(options, case))
        said = got.failure or ", ".join(f"{each.target} {_measured(each)} ({each.verdict})" for each in got.times)
        print(f"[{number}/{len(waiting)}] {case}: {said} ({got.seconds:.0f} s)", flush=True)


def slower_with_defaults(options: argparse.Namespace) -> list[Time]:
    """What must not be: files that are significantly slower although nobody asked for odd widths."""
    found = [read(Got, _path(options, case)) for case in _every(options) if case.round_to == DEFAULT]
    return [time for got in found if got is not None for time in got.times if time.verdict == SLOWER]


def section(options: argparse.Namespace) -> str:
    """The table of what is there."""
    lines = [
        "MobileNetV2 with random weights, batch 1, original and compressed file timed in turns. Odd: layers that lost",
        f"channels, and those of them whose width is now no multiple of {BLOCK}. Slower: the whole 95 % interval is.",
        "",
        "| asked | --round-to | threads | target | odd | MACs left | original over compressed | verdict |",
        "|---|---|---|---|---|---|---|---|",
    ]
    n_missing = n_default = 0
    machines = set()
    for case in _every(options):
        got = read(Got, _path(options, case))
        if got is None:
            n_missing += 1
            continue
        machines |= {", ".join(got.machine.values())} if got.machine else set()
        first = [f"--{case.budget.replace('=', ' ')}", case.round_to, str(case.threads)]
        if got.failure:
            lines.append(f"| {' | '.join([*first, '', '', '', got.failure, 'failed'])} |")
        for time in got.times:
            n_default += case.round_to == DEFAULT
            cells = [*first, time.target, f"{got.n_odd} of {got.n_layers}", f"{got.macs_share:.1%}"]
            lines.append(f"| {' | '.join([*cells, _measured(time), time.verdict])} |")
    slower = slower_with_defaults(options)
    lines += ["", f"With the defaults {len(slower)} of {n_default} files are slower than the original."]
    lines += [f"Measured on {machine}." for machine in sorted(machines)]
    return "\n".join([*lines, *(["", f"**{n_missing} have not been run yet.**"] if n_missing else [])])


def _one(case: Case, options: argparse.Namespace) -> Got:
    weights = _weights(options.work)
    name, _, value = case.budget.partition("=")
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "run"
        command = [sys.executable, "-m", "compressor", str(weights), "--arch", ARCH, "--input", INPUT]
        command += [f"--{name}", value, "--threads", str(case.threads), "--recover", "none", "--quiet"]
        command += ["--on", ",".join(options.targets), "--export", ",".join(TARGETS[each] for each in options.targets)]
        command += [] if case.round_to == DEFAULT else ["--round-to", case.round_to]
        ended = run_command([*command, "-o", str(output)], LIMIT)
        if ended.exit_code not in WRITTEN or not (output / "report.json").is_file():
            return Got(case, seconds=ended.seconds, failure=in_one_line(ended.reason or ended.last_line))
        report = json.loads((output / "report.json").read_text())
    return got_of(case, report, ended.seconds)


def got_of(case: Case, report: dict[str, Any], seconds: float) -> Got:
    """What counts of a report.json."""
    latency, widths, macs, machine = (report[key] for key in ("latency", "widths", "macs", "machine"))
    untimed = [row["target"] for row in latency if row["unavailable"] or row["ratio"] is None]
    if untimed:
        return Got(case, seconds=seconds, failure=f"not timed: {', '.join(untimed)}")
    times = [
        Time(row["target"], row["ratio"], tuple(row["interval"]), row["verdict"], tuple(row["warnings"]))
        for row in latency
    ]
    cut = [row for row in widths if row["after"] < row["before"]]
    facts = {"cpu": machine["cpu"], "cores": f"{machine['n_cores_usable']} usable cores"}
    return Got(
        case,
        tuple(times),
        macs["after"] / macs["before"],
        len(cut),
        sum(row["after"] % BLOCK > 0 for row in cut),
        seconds,
        machine=facts | {key: f"{key} {machine['versions'].get(key, '?')}" for key in ("onnxruntime", "openvino")},
    )


def _weights(work: Path) -> Path:
    """The state dict, made once."""
    path = work / "mobilenet_v2.pt"
    if not path.exists():
        import torch
        from method_parts.random_model import random_model

        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        torch.save(random_model(ARCH).state_dict(), partial)
        partial.replace(path)
    return path


def _measured(time: Time) -> str:
    return f"{time.ratio:.2f}x [{time.interval[0]:.2f}, {time.interval[1]:.2f}]"


def _every(options: argparse.Namespace) -> Iterator[Case]:
    for each in itertools.product(options.budgets, options.round_to, options.threads):
        yield Case(*each)


def _path(options: argparse.Namespace, case: Case) -> Path:
    work: Path = options.work
    targets = "-".join(target.partition(":")[0] for target in options.targets)
    return work / f"{case.budget.replace('=', '_')}-{case.round_to}-{case.threads}-{targets}.json"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budgets", type=names, default="ratio=0.3,macs=70%")
    parser.add_argument("--round-to", type=names, default=f"{DEFAULT},1")
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default="1,2")
    parser.add_argument("--targets", type=some_of(list(TARGETS)), default=",".join(TARGETS))
    parser.add_argument("--write-docs", type=Path, nargs="?", const=RESULTS, metavar="FILE", help="measure nothing")
    parser.add_argument("--work", type=Path, default=ROOT / "benchmarks" / "work" / "odd_widths")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
