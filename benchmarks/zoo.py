"""Some 400 public models through every stage: built, inspected, cut, checked, saved, replayed, exported, compared.

Each model is one process with a limit on time and memory. Its result is one JSON file in --work, so that the benchmark
goes on where it was stopped; torch-pruning's own result on the same model stands in the same file. `--write-docs` makes
docs/coverage.md of all that is there. The list is zoo_parts/models.csv, made by zoo_parts/collect.py.

    python benchmarks/zoo.py [--only 'timm:res*'] [--family timm] [--redo failed] [--write-docs]

Weights are random: nothing is fetched. Torchvision's detectors are called with one tensor, a batch of images of one
size, which they take as they take a list; their score threshold is 0 and their boxes are few, since random weights
would give none.
"""

from __future__ import annotations

import argparse
import fnmatch
import signal
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from zoo_parts.entries import MODELS, Entry, families, read_entries
from zoo_parts.processes import Limits, end_all, run_part
from zoo_parts.results import FAIL, FAILED, NOT_REACHED, Outcome, Result, Rival, StageResult, read_result, result_path
from zoo_parts.sentences import ROOT
from zoo_parts.table import headline, page

from compressor.core import serial
from compressor.core.errors import CompressionError, ModelFileError
from compressor.core.files import write_atomically
from compressor.profiling.machine import cpu_model

VERSIONS = ("compressor", "torch", "torchvision", "timm", "transformers", "onnxruntime", "openvino", "torch-pruning")
DOCS = ROOT / "docs" / "coverage.md"


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does, and leaves no process behind
    try:
        return run(options)
    except CompressionError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("error: interrupted; the same command goes on with the models that are left", file=sys.stderr)
        return 128 + signal.SIGINT


def run(options: argparse.Namespace) -> int:
    """Lists, runs what has no result yet, and writes the page, as the options say."""
    entries = read_entries(options.models)
    chosen = [entry for entry in entries if _is_chosen(entry, options)]
    if not chosen:
        print("error: --only and --family leave no model; --list shows all", file=sys.stderr)
        return 2
    if options.list:
        for entry in chosen:
            print(f"{entry.family:<28}{entry.name:<52}{entry.params / 1e6:>8.2f} M  {' '.join(entry.inputs)}")
        print(f"{len(chosen)} models")
        return 0
    options.work.mkdir(parents=True, exist_ok=True)
    waiting = [(entry, parts) for entry in chosen if (parts := _parts(entry, options))]
    print(f"{len(chosen)} models, {len(waiting)} to run", flush=True)
    _run_all(waiting, options)
    if options.write_docs is not None:
        results = [result for entry in entries if (result := read_result(options.work, entry.name))]
        missing = len(entries) - sum(result.ours is not None for result in results)
        write_atomically(options.write_docs, page(results, families(entries), missing))
        print(f"wrote {options.write_docs.name}")
    return 0


def _run_all(waiting: Sequence[tuple[Entry, list[str]]], options: argparse.Namespace) -> None:
    with ThreadPoolExecutor(options.jobs) as pool:
        futures = [pool.submit(run_entry, entry, parts, options) for entry, parts in waiting]
        try:
            for number, future in enumerate(as_completed(futures), 1):
                print(f"[{number}/{len(waiting)}] {headline(future.result())}", flush=True)
        except BaseException:
            for future in futures:
                future.cancel()
            end_all()
            raise


def run_entry(entry: Entry, parts: Sequence[str], options: argparse.Namespace) -> Result:
    """Runs what is asked for of one model and saves its file."""
    known = read_result(options.work, entry.name) or Result(entry.name, entry.family)
    result = replace(known, family=entry.family, cpu=cpu_model(), versions=_versions())
    if "ours" in parts:
        result = replace(result, ours=_ours(entry, options))
        serial.save_json(result, result_path(options.work, entry.name))
    if "torch_pruning" in parts:
        result = replace(result, torch_pruning=_torch_pruning(entry, options))
        serial.save_json(result, result_path(options.work, entry.name))
    return result


def _ours(entry: Entry, options: argparse.Namespace) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        path = Path(folder) / "outcome.json"
        arguments = [str(options.models.resolve()), entry.name, str(path)]
        ended = run_part("one_model", arguments, Limits(options.limit_s, options.memory_gib))
        try:
            outcome = serial.load_json(Outcome, path)
        except (FileNotFoundError, ModelFileError):  # it did not get as far as the first stage
            outcome = Outcome((StageResult("build", NOT_REACHED),), running="build")
    if ended.reason:
        outcome = _broken_off(outcome, ended.reason, ended.left_behind)
    return replace(outcome, running="", seconds=ended.seconds, peak_bytes=ended.peak_bytes)


def _broken_off(outcome: Outcome, reason: str, left_behind: str) -> Outcome:
    """The outcome with the stage that was under way as failed."""
    name = outcome.running or outcome.stages[-1].name
    reason = reason if outcome.running else f"after all stages, {reason}"
    stages = tuple(
        replace(stage, status=FAILED, sentence=reason, left_behind=left_behind) if stage.name == name else stage
        for stage in outcome.stages
    )
    return replace(outcome, stages=stages)


def _torch_pruning(entry: Entry, options: argparse.Namespace) -> Rival:
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        path = Path(folder) / "rival.json"
        arguments = [str(options.models.resolve()), entry.name, str(path)]
        limits = Limits(options.torch_pruning_limit_s, options.memory_gib)
        ended = run_part("torch_pruning_result", arguments, limits)
        if ended.reason:
            return Rival(FAIL, f"[limit] {ended.reason}", ended.seconds)
        return serial.load_json(Rival, path)


def _parts(entry: Entry, options: argparse.Namespace) -> list[str]:
    """What of this model has to be run."""
    known = read_result(options.work, entry.name)
    ours = known.ours if known else None
    again = options.redo == "all" or (options.redo == "failed" and ours is not None and not ours.passed)
    parts = ["ours"] if ours is None or again else []
    if not options.without_torch_pruning and (known is None or known.torch_pruning is None):
        parts.append("torch_pruning")
    return parts


def _is_chosen(entry: Entry, options: argparse.Namespace) -> bool:
    family = not options.family or entry.family.casefold() == options.family.casefold()
    return family and any(fnmatch.fnmatchcase(entry.name, pattern) for pattern in options.only.split(","))


def _versions() -> dict[str, str]:
    found = {}
    for name in VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", metavar="GLOBS", help="models by name, as in 'timm:res*,*:bert'")
    parser.add_argument("--family", default="", help="one family, as --list names them")
    parser.add_argument("--list", action="store_true", help="show the models and stop")
    parser.add_argument("--redo", choices=("failed", "all"), help="run ours again; torch-pruning's results are kept")
    parser.add_argument("--limit-s", type=_positive, default=600.0, help="seconds for one model")
    parser.add_argument("--memory-gib", type=_positive, default=12.0, help="memory for one model and its children")
    parser.add_argument("--jobs", type=int, choices=range(1, 65), default=1, metavar="N", help="models at a time")
    parser.add_argument("--without-torch-pruning", action="store_true")
    parser.add_argument("--torch-pruning-limit-s", type=_positive, default=120.0, help="seconds for its part")
    parser.add_argument(
        "--write-docs", type=Path, nargs="?", const=DOCS, metavar="FILE", help="default docs/coverage.md"
    )
    parser.add_argument("--models", type=Path, default=MODELS, help="a list of models like zoo_parts/models.csv")
    parser.add_argument("--work", type=Path, default=ROOT / "benchmarks" / "work" / "zoo")
    return parser.parse_args()


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"must be above 0, but got {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
