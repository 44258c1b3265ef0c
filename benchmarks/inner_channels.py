"""What each repair without training gives back when a share of the inner channels of every block was removed by `l1`.

ResNet-20 and ResNet-56 with real weights; the residual streams stay whole, as in the papers. Accuracies on the first
2,000 test images, and on the next --others, on which nothing was ever chosen. Repairs that read images read 512 (norms:
2,048) of the training set, never their labels. Each figure is a JSON file in --work: the benchmark goes on where it
was stopped. `--write-docs` measures nothing, and writes the tables into benchmarks/results.md.

    python benchmarks/inner_channels.py [--models resnet20] [--ratios 20%,30%,50%] [--write-docs]
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
import cifar_resnet
from method_parts.arguments import names, shares
from method_parts.cells import read, save
from method_parts.ours import plan_of
from method_parts.section import write_section
from method_parts.subject import Places, Subject, subjects
from zoo_parts.sentences import ROOT

from compressor.core.errors import CompressionError
from compressor.core.plan import PruningPlan
from compressor.core.progress import SilentProgress
from compressor.core.protocols import RecoveryContext
from compressor.recovery.bias_absorption import BiasAbsorption
from compressor.recovery.bn_reestimate import BatchNormReestimate
from compressor.recovery.least_squares import LeastSquares
from compressor.recovery.neuron_merging import NeuronMerging
from compressor.runs.record import Record
from compressor.surgery.cut import cut_copy
from compressor.training.evaluate import predict

WHOLE, CUT = "the whole model", "cut, and nothing else"
REPAIRS: dict[str, Callable[[], object]] = {
    "neuron_merging, the paper's form": lambda: NeuronMerging(form="bn"),
    "neuron_merging": NeuronMerging,
    "bias_absorption": BiasAbsorption,
    "bn_reestimate": BatchNormReestimate,
    "least_squares": LeastSquares,
}
LINES = (WHOLE, CUT, *REPAIRS)
N_FIRST = 2000
HEADING = "## A share of the inner channels, and no training (`inner_channels.py`)"
RESULTS = ROOT / "benchmarks" / "results.md"


@dataclass(frozen=True)
class Measured:
    """One accuracy, on both parts of the test set."""

    model: str
    ratio: float
    line: str
    n_others: int
    first_percent: float
    others_percent: float


def main() -> int:
    options = _options()
    torch.set_num_threads(1)
    try:
        if options.write_docs is not None:
            write_section(options.write_docs, HEADING, section(options))
        else:
            run(options)
    except CompressionError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("error: interrupted; the same command goes on with what is left", file=sys.stderr)
        return 130
    return 0


def run(options: argparse.Namespace) -> None:
    """Every line that has no file yet."""
    places = Places(options.architectures, options.weights, options.data)
    for subject in subjects(options.models, places, N_FIRST + options.others).values():
        for ratio in options.ratios:
            cut = cache(lambda subject=subject, ratio=ratio: _cut(subject, ratio))
            for line in LINES:
                path = _path(options, subject.name, ratio, line)
                if read(Measured, path) is None:
                    found = _measure(subject, ratio, line, cut, options.others)
                    save(found, path)
                    print(f"{subject.name} {ratio:.0%} {line}: {found.first_percent:.2f}, {found.others_percent:.2f}")


def _cut(subject: Subject, ratio: float) -> tuple[nn.Module, PruningPlan]:
    source, coverage = subject.without_streams
    asked = replace(subject.options, ratio=ratio, round_to=1)
    plan = plan_of(Record(source, asked, SilentProgress(), coverage))
    return cut_copy(source.module, plan.cuts, plan.attributes), plan


def _measure(
    subject: Subject, ratio: float, line: str, cut: Callable[[], tuple[nn.Module, PruningPlan]], n_others: int
) -> Measured:
    source, coverage = subject.without_streams
    model = source.module
    if line != WHOLE:
        small, plan = cut()
        model = copy.deepcopy(small)
        if line in REPAIRS:
            context = RecoveryContext(model, source.module, plan=plan, groups=coverage.groups, inputs=source.inputs)
            REPAIRS[line]().apply(replace(context, train=subject.data.train), SilentProgress())
    images = subject.data.val
    right = (predict(model, images) == images.labels).double()
    first, others = (100 * float(part.mean()) for part in right.split([N_FIRST, n_others]))
    return Measured(subject.name, ratio, line, n_others, first, others)


def section(options: argparse.Namespace) -> str:
    """One table a model; a cell: the first images, and the others."""
    lines = [
        f"Top-1 accuracy in percent on the first {N_FIRST:,} test images / on {options.others:,} others, on which",
        "nothing was chosen. `l1`, residual streams whole, one thread.",
    ]
    for model in options.models:
        lines += ["", f"| {model}: removed | {' | '.join(f'{ratio:.0%}' for ratio in options.ratios)} |"]
        lines.append("|" + "---|" * (len(options.ratios) + 1))
        for line in LINES:
            known = [read(Measured, _path(options, model, ratio, line)) for ratio in options.ratios]
            cells = [f"{each.first_percent:.1f} / {each.others_percent:.1f}" if each else "–" for each in known]
            lines.append(f"| {line} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _path(options: argparse.Namespace, model: str, ratio: float, line: str) -> Path:
    name = line.replace(",", "").replace(" ", "_").replace("'", "")
    folder: Path = options.work / f"{model}-{round(100 * ratio)}-{options.others}"
    return folder / f"{name}.json"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=Path("../shared/weights"), help="folder of NAME_cifar10.pt")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cifar10"), help="train.parquet, test.parquet")
    parser.add_argument("--architectures", type=Path, default=Path(cifar_resnet.__file__), metavar="FILE.py")
    parser.add_argument("--models", type=names, default="resnet20,resnet56")
    parser.add_argument("--ratios", type=shares, default="20%,30%,50%", help="of the inner channels")
    parser.add_argument("--others", type=int, default=3000, metavar="N", help="test images after the first 2,000")
    parser.add_argument("--write-docs", type=Path, nargs="?", const=RESULTS, metavar="FILE", help="measure nothing")
    parser.add_argument("--work", type=Path, default=ROOT / "benchmarks" / "work" / "inner_channels")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
