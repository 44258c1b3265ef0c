"""Accuracy and speed on real weights and images: ResNet-20 and ResNet-56 at half the MACs, beside torch-pruning.

Ours is the real pipeline (`compress --macs 50%`): accuracy is measured dense, as cut, after batch-norm re-estimation
and after fine-tuning with distillation. Theirs is torch-pruning's BasePruner with L1 importance on the inner channels
of the blocks (its graph breaks on the shortcut), to the same MACs, then the same recovery with the same epochs and
seed. Runs are kept in --work and continue after a kill.

    python benchmarks/cifar_accuracy.py --weights ../shared/weights --data ../shared/data/cifar10 [--epochs 3]
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from pathlib import Path

import torch
import torch_pruning
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
import cifar_resnet

from compressor.core.options import options_from
from compressor.core.progress import SilentProgress
from compressor.core.protocols import RecoveryContext
from compressor.data.opening import open_dataset
from compressor.graph.cost import measure_cost
from compressor.pipeline import compress_file
from compressor.recovery.bn_reestimate import PLUGIN as BatchNormReestimation
from compressor.recovery.finetune import PLUGIN as FineTune
from compressor.training.evaluate import evaluate
from exporters.signature import ExampleInputs

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MACS = 0.5


def ours(name: str, arguments: argparse.Namespace) -> dict[str, object]:
    """The pipeline's own report."""
    folder = arguments.work / f"{name}-{arguments.epochs}"
    if not (folder / "report.json").exists():
        options = options_from(
            {
                "model": str(arguments.weights / f"{name}_cifar10.pt"),
                "arch": f"{Path(cifar_resnet.__file__)}:{name}",
                "data": str(arguments.data / "train.parquet"),
                "val": str(arguments.data / "test.parquet"),
                "mean": MEAN,
                "std": STD,
                "macs": MACS,
                "export": ["onnx", "openvino"],
                "finetune_epochs": arguments.epochs,
                "distill": bool(arguments.epochs),
                "flip": True,
                "seed": arguments.seed,
                "output": str(folder),
            }
        )
        compress_file(options, SilentProgress())
    return json.loads((folder / "report.json").read_text())


def theirs(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """torch-pruning's pruner to the same budget, then the same recovery."""
    kept = arguments.work / f"torch-pruning-{name}-{arguments.epochs}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    model = getattr(cifar_resnet, name)()
    model.load_state_dict(torch.load(arguments.weights / f"{name}_cifar10.pt", weights_only=True))
    model.eval()
    train = open_dataset(arguments.data / "train.parquet", mean=MEAN, std=STD)
    val = open_dataset(arguments.data / "test.parquet", mean=MEAN, std=STD)
    small = _pruned_by_torch_pruning(model)
    found = {"dense": evaluate(model, val)[0], "cut": evaluate(small, val)[0]}
    context = RecoveryContext(
        small,
        model,
        train=train,
        seed=arguments.seed,
        checkpoints=arguments.work / f"checkpoints-{name}-{arguments.epochs}",
    )
    BatchNormReestimation().apply(context, SilentProgress())
    found["bn_reestimate"] = evaluate(small, val)[0]
    if arguments.epochs:
        FineTune(epochs=arguments.epochs, flip=True).apply(context, SilentProgress())
        found["finetune"] = evaluate(small, val)[0]
    kept.write_text(json.dumps(found))
    return found


def _pruned_by_torch_pruning(model: nn.Module) -> nn.Module:
    """The smallest ratio (in 0.5 % steps) of inner channels whose removal leaves at most half of the MACs."""
    example = torch.randn(1, 3, 32, 32)
    inputs = ExampleInputs(("x",), (example,))
    whole = measure_cost(model, inputs).macs
    for step in range(1, 200):
        small = copy.deepcopy(model)
        inner = {f"{n}.conv1" for n, m in small.named_modules() if isinstance(m, cifar_resnet.BasicBlock)}
        layers = [m for n, m in small.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear)) and n not in inner]
        importance = torch_pruning.importance.MagnitudeImportance(p=1)
        pruner = torch_pruning.pruner.BasePruner(
            small, example, importance=importance, pruning_ratio=step / 200, ignored_layers=layers
        )
        pruner.step()
        if measure_cost(small, inputs).macs <= MACS * whole:
            return small
    raise SystemExit("torch-pruning cannot reach the budget")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", default="resnet20,resnet56")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work/cifar"))
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    print("| model | by | MACs left | dense | cut | + batch norms | + epochs | onnxruntime:cpu | openvino:cpu |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in arguments.models.split(","):
        report = ours(name, arguments)
        accuracy = {row["stage"]: row["top1_percent"] for row in report["accuracy"]}
        times = [f"{t['ratio']:.2f}x [{t['interval'][0]:.2f}, {t['interval'][1]:.2f}]" for t in report["latency"]]
        share = report["macs"]["after"] / report["macs"]["before"]
        percents = " | ".join(f"{a:.1f}" for a in accuracy.values())
        print(f"| {name} | compress | {share:.1%} | {percents} | {' | '.join(times)} |")
        rival = theirs(name, arguments)
        percents = " | ".join(f"{a:.1f}" for a in rival.values())
        print(f"| {name} | torch-pruning | 50% | {percents} | | |", flush=True)


if __name__ == "__main__":
    main()
