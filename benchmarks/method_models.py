"""Every method through the whole command line, to a checked ONNX file, on large models with random weights.

Each method on each model is one process with a limit on time and memory, and one JSON file in --work: the benchmark
goes on where it was stopped, and what has a file is not run again. Methods that look at images get a folder of noise in
four classes that is made here: it shows that they run, and says nothing of accuracy. `--write-docs` measures nothing,
and writes the table into benchmarks/results.md.

    python benchmarks/method_models.py [--methods l1,chip] [--models resnet50] [--limit-s 1200] [--write-docs]
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from method_parts.arguments import some_of
from method_parts.cells import read, save
from method_parts.section import write_section
from zoo_parts.processes import Limits, end_all, run_command
from zoo_parts.sentences import ROOT, in_one_line

from compressor.runs.choose import METHODS

MODELS = {
    "resnet50": "torchvision:resnet50",
    "mobilenet_v3_small": "torchvision:mobilenet_v3_small",
    "densenet121": "torchvision:densenet121",
    "vit_b_16": "torchvision:vit_b_16",
    "convnext_atto": "timm:convnext_atto",
    "two_branch": f"{Path(__file__).parent / 'two_branch.py'}:two_branch",
}
SIDE, N_CLASSES, N_IMAGES = 224, 4, 8  # of the images that are made; images a class
# How a run ended.
VERIFIED, MISSED, REFUSED, FAILED = "verified", "budget missed", "refused", "failed"
REFUSALS = (2, 3, 4)  # exit codes of sentences that say what is wrong with the input
BUDGET_MISSED = 7
HEADING = "## Every method on large models (`method_models.py`)"
RESULTS = ROOT / "benchmarks" / "results.md"


@dataclass(frozen=True)
class Outcome:
    """One method on one model."""

    method: str
    model: str
    status: str
    sentence: str = ""  # where there is no file, why
    macs_share: float = 0.0
    choose_s: float = 0.0
    seconds: float = 0.0  # of the whole command
    peak_bytes: int = 0


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if options.write_docs is not None:
            write_section(options.write_docs, HEADING, section(options.work, options.methods, options.models))
        else:
            run(options)
    except KeyboardInterrupt:
        end_all()
        print("error: interrupted; the same command goes on with what is left", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def run(options: argparse.Namespace) -> None:
    """Every method on every model that has no file yet."""
    pairs = [(method, model) for model in options.models for method in options.methods]
    waiting = [pair for pair in pairs if read(Outcome, outcome_path(options.work, *pair)) is None]
    print(f"{len(pairs)} runs, {len(waiting)} to do", flush=True)
    for number, (method, model) in enumerate(waiting, 1):
        outcome = one(method, model, options)
        save(outcome, outcome_path(options.work, method, model))
        what = outcome.sentence or f"{outcome.macs_share:.1%} of the MACs, chosen in {outcome.choose_s:.1f} s"
        said = f"{method} {model}: {outcome.status}, {what} ({outcome.seconds:.0f} s)"
        print(f"[{number}/{len(waiting)}] {said}", flush=True)


def one(method: str, model: str, options: argparse.Namespace) -> Outcome:
    """Runs the command line and reads its report."""
    weights = make_weights(model, options.work)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "run"
        command = [sys.executable, "-m", "compressor", str(weights), "--arch", MODELS[model], "--method", method]
        command += ["--macs", "50%", "--export", "onnx", "--on", "none", "--quiet", "-o", str(output)]
        if METHODS.load(method).needs & {"data", "labels"}:
            command += ["--data", str(make_images(options.work))]
        else:
            command += ["--input", f"1x3x{SIDE}x{SIDE}"]
        ended = run_command(command, Limits(options.limit_s, options.memory_gib))
        seconds, peak = ended.seconds, ended.peak_bytes
        if ended.exit_code in REFUSALS:
            sentence = in_one_line(ended.last_line.removeprefix("error: "))
            return Outcome(method, model, REFUSED, sentence, seconds=seconds, peak_bytes=peak)
        if ended.reason and ended.exit_code != BUDGET_MISSED:
            return Outcome(method, model, FAILED, in_one_line(ended.reason), seconds=seconds, peak_bytes=peak)
        report = json.loads((output / "report.json").read_text())
    macs = report["macs"]["after"] / report["macs"]["before"]
    choose_s = next(stage["seconds"] for stage in report["stages"] if stage["name"] == "plan")
    status, sentence = _verdict(report, ended.exit_code)
    return Outcome(method, model, status, sentence, macs, choose_s, seconds, peak)


def _verdict(report: Mapping[str, object], exit_code: int) -> tuple[str, str]:
    onnx = [parity for parity in report["parity"] if parity["format"] == "onnx"]
    if not onnx or not all(parity["passed"] for parity in onnx):
        return FAILED, "the ONNX file was not found to compute what the model does"
    return (MISSED, "") if exit_code == BUDGET_MISSED else (VERIFIED, "")


def section(work: Path, methods: Sequence[str], models: Sequence[str]) -> str:
    """The table of what is there, and under it why the rest is not."""
    found = {(m, n): outcome for m in methods for n in models if (outcome := read(Outcome, outcome_path(work, m, n)))}
    sentences: list[str] = []
    lines = [
        "Random weights, half of the MACs, default options; the ONNX file is loaded again and compared with the model.",
        "A cell: share of the MACs left, seconds to choose (busy machine). Methods that look at images were given",
        f"{N_CLASSES * N_IMAGES} of noise.",
        "",
    ]
    n_missing = len(methods) * len(models) - len(found)
    if n_missing:
        lines += [f"**{n_missing} have not been run yet.**", ""]
    lines += [f"| method | {' | '.join(models)} |", "|" + "---|" * (len(models) + 1)]
    for method in methods:
        cells = [_cell(found.get((method, model)), sentences) for model in models]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"{number}. {sentence}" for number, sentence in enumerate(sentences, 1))])


def _cell(outcome: Outcome | None, sentences: list[str]) -> str:
    """What the table says; a sentence gets a number and is told below, once."""
    if outcome is None:
        return "–"
    if outcome.sentence:
        if outcome.sentence not in sentences:
            sentences.append(outcome.sentence)
        mark = outcome.status if outcome.status == REFUSED else f"**{outcome.status}**"
        return f"{mark} ({sentences.index(outcome.sentence) + 1})"
    missed = " (budget missed)" if outcome.status == MISSED else ""
    return f"{outcome.macs_share:.1%}{missed}, {outcome.choose_s:.1f} s"


def outcome_path(work: Path, method: str, model: str) -> Path:
    """The file of one run."""
    return work / f"{model}-{method}.json"


def make_weights(model: str, work: Path) -> Path:
    """A state dict with random weights, made once."""
    path = work / "weights" / f"{model}.pt"
    if not path.exists():
        import torch
        from method_parts.random_model import random_model

        state = random_model(MODELS[model]).state_dict()
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)
    return path


def make_images(work: Path) -> Path:
    """A folder of noise, one sub-folder a class, made once."""
    folder = work / "images"
    if not folder.is_dir():
        import numpy as np
        from PIL import Image

        numbers = np.random.default_rng(0)
        partial = work / "images.partial"
        shutil.rmtree(partial, ignore_errors=True)
        for label in range(N_CLASSES):
            (partial / f"class{label}").mkdir(parents=True)
            for number in range(N_IMAGES):
                pixels = numbers.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
                Image.fromarray(pixels).save(partial / f"class{label}" / f"{number}.png")
        partial.replace(folder)
    return folder


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", type=some_of(METHODS.names()), default=",".join(METHODS.names()))
    parser.add_argument("--models", type=some_of(list(MODELS)), default=",".join(MODELS))
    parser.add_argument("--limit-s", type=float, default=1200.0, help="seconds for one run")
    parser.add_argument("--memory-gib", type=float, default=10.0, help="memory for one run and its children")
    parser.add_argument("--write-docs", type=Path, nargs="?", const=RESULTS, metavar="FILE", help="measure nothing")
    parser.add_argument("--work", type=Path, default=ROOT / "benchmarks" / "work" / "method_models")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
