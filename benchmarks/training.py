"""Training for the cut on real weights and images: every regulariser, beside torch-pruning, with the same epochs.

All rows end at the same share of the MACs after the same number of epochs over CIFAR-10 (JPEG copies), from the same
weights: a row that trains for the cut takes some of them before it, and all rows fine-tune with what is left, with the
same recipe and distillation from the dense model. The dense model, trained for as many epochs more, is what they are
measured by. torch-pruning's GroupNormPruner trains with its own regulariser in the same loop, on the inner channels of
the blocks (its graph breaks on the padded shortcut). One row at a time, kept in --work; goes on where it was stopped,
within a training as well.

    python benchmarks/training.py [--model resnet20] [--rows dense,l1,...] [--seeds 0,1,2] [--write-docs]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torch_pruning
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
import cifar_resnet
from method_parts import rival
from method_parts.arguments import names, some_of
from method_parts.cells import read, save
from method_parts.section import write_section
from method_parts.subject import MEAN, STD, Places, Subject, subjects
from zoo_parts.sentences import ROOT

from compressor.core.options import options_from
from compressor.core.plugins import PluginFolder
from compressor.core.progress import SilentProgress
from compressor.core.protocols import RecoveryContext
from compressor.pipeline import compress_file
from compressor.recovery.bn_reestimate import PLUGIN as BatchNormReestimation
from compressor.recovery.finetune import PLUGIN as FineTune
from compressor.training.evaluate import evaluate
from compressor.training.hooks import Hook, Moment
from compressor.training.loop import train

MACS = 1 / 2.1
DENSE, GROUP_NORM, RIVAL_L1 = "dense", "torch-pruning GroupNormPruner", "torch-pruning l1"
CUT_FIRST = ("l1", "reconstruction")  # methods without training before the cut
REGULARIZERS = tuple(PluginFolder("compressor.training.regularizers", "regularizer").names())
# The papers' strengths are for 160 epochs and more; these are for some ten, from trained weights.
OPTIONS = {
    "network_slimming": ("strength=0.001",),
    "proximal_slimming": ("strength=0.02",),
    "mask_sparsity": ("strength=0.005",),
    "group_lasso": ("strength=0.001",),
}
ROWS = (DENSE, *CUT_FIRST, *(name for name in REGULARIZERS if name != "trained_rank"), RIVAL_L1, GROUP_NORM)
HEADING = "## Training for the cut (`training.py`)"
RESULTS = ROOT / "benchmarks" / "results.md"


@dataclass(frozen=True)
class Got:
    """One training."""

    row: str
    seed: int
    macs_share: float
    trained: float | None  # top-1 in percent before the cut
    cut: float | None  # right after it, and after the repair that comes before fine-tuning
    repaired: float | None
    final: float


def main() -> int:
    options = _options()
    if options.write_docs is not None:
        write_section(options.write_docs, f"{HEADING[:-1]}, {options.model})", section(options))
        return 0
    subject = subjects([options.model], Places(Path(cifar_resnet.__file__), options.weights, options.data), 5000)[
        options.model
    ]
    for seed in options.seeds:
        for row in options.rows:
            path = _path(options, row, seed)
            if read(Got, path) is None:
                got = run(subject, row, seed, options)
                save(got, path)
                print(f"{options.model} {row} seed {seed}: {got.final:.2f} % at {got.macs_share:.1%}", flush=True)
    return 0


def run(subject: Subject, row: str, seed: int, options: argparse.Namespace) -> Got:
    """One row for one seed."""
    if row == DENSE:
        return _dense(subject, seed, options)
    if row in (RIVAL_L1, GROUP_NORM):
        return _rival(subject, row, seed, options)
    return _ours(subject, row, seed, options)


def _tuning(epochs: int, **more: float) -> FineTune:
    return FineTune(epochs=epochs, flip=True, **more)


def _dense(subject: Subject, seed: int, options: argparse.Namespace) -> Got:
    model = _copy(subject)
    context = _context(subject, model, seed, _work(options, DENSE, seed))
    _tuning(options.epochs, distill=0.0).apply(context, SilentProgress())
    return Got(DENSE, seed, 1.0, None, None, None, _accuracy(subject, model))


def _ours(subject: Subject, row: str, seed: int, options: argparse.Namespace) -> Got:
    """The pipeline itself, from the command's options."""
    folder = _work(options, row, seed) / "run"
    before = {"method": row, "finetune_epochs": options.epochs}
    if row not in CUT_FIRST:
        before = {
            "train": row,
            "train_options": OPTIONS.get(row, ()),
            "train_epochs": options.before,
            "finetune_epochs": options.epochs - options.before,
        }
    if not (folder / "report.json").exists():
        given = {
            "model": str(options.weights / f"{subject.name}_cifar10.pt"),
            "arch": f"{Path(cifar_resnet.__file__)}:{subject.name}",
            "data": str(options.data / "train.parquet"),
            "val": str(options.data / "test.parquet"),
            "mean": MEAN,
            "std": STD,
            "macs": MACS,
            "on": ["onnxruntime:cpu", "openvino:cpu"],
            "export": ["onnx", "openvino"],
            "distill": True,
            "flip": True,
            "seed": seed,
            "output": str(folder),
            **before,
        }
        compress_file(options_from(given), SilentProgress())
    report = json.loads((folder / "report.json").read_text())
    found = {each["stage"]: each["top1_percent"] for each in report["accuracy"]}
    macs = report["macs"]
    share = macs["after"] / macs["before"]
    return Got(row, seed, share, found.get("trained"), found["cut"], found["bn_reestimate"], found["finetune"])


def _rival(subject: Subject, row: str, seed: int, options: argparse.Namespace) -> Got:
    """torch-pruning, to the same MACs."""
    folder = _work(options, row, seed)
    kept, trained = folder / "trained.pt", None
    model = _copy(subject)
    if row == GROUP_NORM:
        if kept.exists():
            model.load_state_dict(torch.load(kept, weights_only=True))
        else:
            _sparsely(subject, model, seed, options, folder)
            torch.save(model.state_dict(), kept)
        trained = _accuracy(subject, model)
    small, share = _cut_by_rival(subject, model, row)
    cut = _accuracy(subject, small)
    context = _context(subject, small, seed, folder)
    BatchNormReestimation().apply(context, SilentProgress())
    repaired = _accuracy(subject, small)
    _tuning(options.epochs - (options.before if row == GROUP_NORM else 0)).apply(context, SilentProgress())
    return Got(row, seed, share, trained, cut, repaired, _accuracy(subject, small))


class _RivalsRegularizer(Hook):
    """GroupNormPruner's own step in our loop."""

    def __init__(self, pruner: torch_pruning.pruner.GroupNormPruner, model: nn.Module) -> None:
        self.options = "torch-pruning's defaults"
        self._pruner, self._model = pruner, model

    def before_step(self, moment: Moment) -> None:
        if moment.step % moment.n_per_epoch == 0:
            self._pruner.update_regularizer()
        self._pruner.regularize(self._model)


def _sparsely(subject: Subject, model: nn.Module, seed: int, options: argparse.Namespace, folder: Path) -> None:
    dataset, settings = subject.data.train, _tuning(options.before, distill=0.0)
    train(
        model,
        dataset,
        settings.recipe(seed),
        settings.objective(dataset),
        hooks=[_RivalsRegularizer(_pruner(subject, model, GROUP_NORM, 0.5), model)],
        checkpoints=folder / "checkpoints-sparse",
    )


def _pruner(subject: Subject, model: nn.Module, row: str, ratio: float) -> torch_pruning.pruner.BasePruner:
    inner = rival.inner_layers(subject)
    layers = [m for n, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear)) and n not in inner]
    inputs = subject.source.inputs.tensors[0]
    given = {"pruning_ratio": ratio, "ignored_layers": layers}
    if row == GROUP_NORM:
        importance = torch_pruning.importance.MagnitudeImportance(p=2)
        return torch_pruning.pruner.GroupNormPruner(model, inputs, importance, global_pruning=True, **given)
    return torch_pruning.pruner.BasePruner(model, inputs, torch_pruning.importance.MagnitudeImportance(p=1), **given)


def _cut_by_rival(subject: Subject, model: nn.Module, row: str) -> tuple[nn.Module, float]:
    """The smallest ratio, in half percents, that comes down to the MACs."""
    whole = subject.macs()
    for step in range(1, 200):
        small = _copy(subject)
        small.load_state_dict(model.state_dict())
        _pruner(subject, small, row, step / 200).step()
        share = subject.macs(small) / whole
        if share <= MACS * (1 + rival.TOLERANCE):
            return small, share
    raise SystemExit(f"error: {row} cannot reach {MACS:.1%} of the MACs")


def _copy(subject: Subject) -> nn.Module:
    model = getattr(cifar_resnet, subject.name)()
    model.load_state_dict(subject.source.module.state_dict())
    return model.eval()


def _context(subject: Subject, model: nn.Module, seed: int, folder: Path) -> RecoveryContext:
    """The dense model is the teacher."""
    source = subject.source
    places = {"seed": seed, "checkpoints": folder / "tuning"}
    return RecoveryContext(model, source.module, train=subject.data.train, inputs=source.inputs, **places)


def _accuracy(subject: Subject, model: nn.Module) -> float:
    return evaluate(model, subject.data.val)[0]


def section(options: argparse.Namespace) -> str:
    """All rows that are there, the best first."""
    found: dict[str, list[Got]] = {}
    for row in ROWS:
        got = [read(Got, _path(options, row, seed)) for seed in options.seeds]
        found[row] = [each for each in got if each is not None]
    n_before, n_after = options.before, options.epochs - options.before
    lines = [
        f"{options.model}, 5,000 test images, {options.epochs} epochs for every row: {n_before} before the cut and "
        f"{n_after} after it where something is",
        f"trained for the cut, else all after it (after the cut with distillation from the dense model). Budget: "
        f"{MACS:.1%} of the MACs.",
        "Final: mean over the seeds, with the standard deviation where there are several.",
        "",
        "| row | MACs left | trained | cut | norms re-estimated | final | against dense | seeds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    dense = statistics.mean(each.final for each in found[DENSE]) if found[DENSE] else None
    ranked = sorted(found.items(), key=lambda item: -max((each.final for each in item[1]), default=0.0))
    for row, got in ranked:
        if not got:
            lines.append(f"| {row} | not run yet | | | | | | |")
            continue
        final = statistics.mean(each.final for each in got)
        spread = f" ± {statistics.stdev(each.final for each in got):.2f}" if len(got) > 1 else ""
        against = "–" if dense is None or row == DENSE else f"{final - dense:+.2f}"
        cells = [_mean([each.trained for each in got]), _mean([each.cut for each in got])]
        cells += [_mean([each.repaired for each in got]), f"{final:.2f}{spread}", against, str(len(got))]
        lines.append(f"| {row} | {got[0].macs_share:.1%} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.mean(known):.2f}" if known else "–"


def _work(options: argparse.Namespace, row: str, seed: int) -> Path:
    folder: Path = options.work / options.model / f"{row.replace(' ', '_')}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _path(options: argparse.Namespace, row: str, seed: int) -> Path:
    work: Path = options.work
    return work / options.model / f"{row.replace(' ', '_')}-{seed}.json"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=Path("../shared/weights"), help="folder of NAME_cifar10.pt")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cifar10"), help="train.parquet, test.parquet")
    parser.add_argument("--model", choices=("resnet20", "resnet56"), default="resnet20")
    parser.add_argument("--rows", type=some_of(ROWS), default=",".join(ROWS))
    parser.add_argument("--seeds", type=lambda text: [int(n) for n in names(text)], default="0")
    parser.add_argument("--epochs", type=int, default=15, help="of every row, in all")
    parser.add_argument(
        "--before", type=int, default=8, help="of them before the cut, where something is trained for it"
    )
    parser.add_argument("--write-docs", type=Path, nargs="?", const=RESULTS, metavar="FILE", help="measure nothing")
    parser.add_argument("--work", type=Path, default=ROOT / "benchmarks" / "work" / "training")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
