"""Is a file pruned as the live module is? The same groups, the same plan, the same small model.

Each architecture is written as a torch.export program, a TorchScript archive and an ONNX file by both of torch's
exporters; each file goes through the real command line (half of the MACs, ONNX export, checked). Then the live module
is cut by the file's plan, and the small models' outputs are compared on random images. A file may have finer groups
(PyTorch's own attention ties its heads to the stream, a file does not): then the file's module is cut by the live
module's plan. Exporters fold batch norms into the convolutions of ONNX files, so that a criterion on weights sees other
weights: there the plan may differ, and the outputs under one plan must not. With `--weights` and `--data`, ResNet-56 is
read from its state dict and from ONNX with its norms kept, and their accuracies stand side by side.

    python benchmarks/model_files.py [--models resnet50,swin_t] [--weights ../shared/weights --data DATA]

Finished runs are kept in --work.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
import cifar_resnet
from zoo_parts.random_weights import draw_zeros

import compressor
from compressor.core.groups import ChannelGroup
from compressor.core.plan import PruningPlan
from compressor.loading.model_file import load_model
from compressor.runs.saved import load_program, read_plan
from compressor.surgery.cut import cut_copy
from compressor.surgery.expand import expand

MODELS = ("resnet50", "mobilenet_v3_small", "densenet121", "shufflenet_v2_x1_0", "vit_b_16", "swin_t")
LIMIT_S = 1200
HEADS = "| model | file | groups (live) | with the same channels | outputs under one plan (worst relative) | seconds |"
CIFAR_MEAN, CIFAR_STD = ("0.485", "0.456", "0.406"), ("0.229", "0.224", "0.225")


def live_module(name: str) -> nn.Module:
    """Random weights, with norms that are not neutral: a folded norm would else change nothing."""
    torch.manual_seed(0)
    module = torchvision.models.get_model(name).eval()
    for layer in module.modules():
        if isinstance(layer, (nn.modules.batchnorm._BatchNorm, nn.LayerNorm)):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0.0, 0.1)
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.running_mean.normal_(0.0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
    draw_zeros(module)  # the head of torchvision's ViT, without which every output is zero
    return module


def write_pt2(module: nn.Module, image: Tensor, path: Path) -> None:
    """With a variable batch."""
    torch.export.save(torch.export.export(module, (image,), dynamic_shapes=({0: torch.export.Dim("batch")},)), path)


def write_torchscript(module: nn.Module, image: Tensor, path: Path) -> None:
    """By tracing."""
    torch.jit.trace(module, image).save(str(path))


def write_onnx(module: nn.Module, image: Tensor, path: Path, norms: bool = False) -> None:
    """By the exporter that traces; it folds batch norms unless `norms` stay."""
    kept = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False} if norms else {}
    names = {"input_names": ["image"], "output_names": ["scores"]}
    torch.onnx.export(
        module, (image,), str(path), dynamo=False, dynamic_axes={"image": {0: "n"}, "scores": {0: "n"}}, **names, **kept
    )


def write_onnx_dynamo(module: nn.Module, image: Tensor, path: Path) -> None:
    """By the exporter on torch.export."""
    shapes = ({0: torch.export.Dim("batch")},)
    torch.onnx.export(
        module, (image,), str(path), dynamo=True, dynamic_shapes=shapes, external_data=False, verbose=False
    )


@dataclass(frozen=True)
class Form:
    """A kind of file."""

    title: str
    suffix: str
    write: Callable[[nn.Module, Tensor, Path], None]
    arguments: tuple[str, ...] = ()


FORMS = (
    Form("torch.export", "pt2", write_pt2),
    Form("TorchScript", "ts", write_torchscript, ("--input", "1x3x224x224")),
    Form("ONNX, traced", "traced.onnx", write_onnx),
    Form("ONNX, dynamo", "dynamo.onnx", write_onnx_dynamo),
)


def compress(arguments: list[str], folder: Path) -> tuple[str, float]:
    """What went wrong (empty if nothing did), and the seconds."""
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "compressor", *arguments, "--macs", "50%", "--on", "none", "-o", str(folder)]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return f"exit {done.returncode}: {last}" if done.returncode else "", time.perf_counter() - start


def compare(name: str, form: Form, work: Path) -> dict[str, object]:
    """One line of the table."""
    module, image = live_module(name), torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    path, folder = work / f"{name}.{form.suffix}", work / f"{name}.{form.suffix}.run"
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        form.write(module, image, path)
    failure, seconds = compress([str(path), *form.arguments, "--export", "onnx"], folder)
    if failure:
        return {"failure": failure}
    plan, program = read_plan(folder), load_program(folder)
    live = compressor.compress(module, image[:1], macs=0.5)
    groups = compressor.inspect(module, image[:1]).groups
    same = {group.name: group.n_channels for group in groups} == {k: v.n_channels for k, v in plan.groups.items()}
    if same:
        keep = {name: kept.keep for name, kept in plan.groups.items()}
        expected = outputs(cut_copy(module, *expand(groups, keep, module)), image)
        found = outputs(program, image)
    else:
        expected = outputs(live.module, image)
        loaded = load_model(path, inputs=form.arguments[1:])
        finer = compressor.inspect(loaded.module, loaded.inputs).groups
        found = outputs(cut_copy(loaded.module, *expand(finer, translated(live.plan, finer), loaded.module)), image)
    path.unlink()
    shutil.rmtree(folder)
    return {
        "groups": len(plan.groups),
        "live_groups": len(groups),
        "plan_of": "file" if same else "live module",
        "same_kept": sum(live.plan.groups.get(name) == kept for name, kept in plan.groups.items()),
        "error": float((found - expected).abs().max() / expected.abs().max()),
        "seconds": seconds,
    }


def outputs(module: Callable[[Tensor], object], image: Tensor) -> Tensor:
    """A classifier's only output."""
    with torch.no_grad():
        found = module(image)
    return found[0] if isinstance(found, (tuple, list)) else found


def translated(plan: PruningPlan, groups: Sequence[ChannelGroup]) -> dict[str, list[int]]:
    """The channels that a file's groups keep under the live module's plan, by axes of tensors of one name.

    Names of ONNX nodes have underscores where those of modules have dots.
    """
    kept_on = {(cut.tensor.replace(".", "_"), cut.axis): set(cut.keep) for cut in plan.cuts}
    keep = {}
    for group in groups:
        for axis in (axis for member in group.members for axis in member.axes):
            kept = kept_on.get((axis.tensor.replace(".", "_"), axis.axis))
            if kept is not None:
                keep[group.name] = sorted({c for p, c in zip(axis.position, axis.channel, strict=True) if p in kept})
                break
    return keep


def row(name: str, title: str, found: dict[str, object]) -> str:
    """One line of the table."""
    if "failure" in found:
        return f"| {name} | {title} | {found['failure']} |"
    groups = f"{found['groups']} ({found['live_groups']})"
    under = f"{found['error']:.0e} (of the {found['plan_of']})"
    return f"| {name} | {title} | {groups} | {found['same_kept']} | {under} | {found['seconds']:.0f} |"


def resnet56(weights: Path, data: Path, work: Path) -> list[str]:
    """ResNet-56 from its state dict and from ONNX: a line for each."""
    module = cifar_resnet.resnet56()
    file = weights / "resnet56_cifar10.pt"
    module.load_state_dict(torch.load(file, weights_only=True))
    onnx = work / "resnet56.onnx"
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        write_onnx(module.eval(), torch.randn(2, 3, 32, 32), onnx, norms=True)
    images = ["--data", str(data / "train.parquet"), "--val", str(data / "test.parquet"), "--export", "onnx"]
    images += ["--mean", ",".join(CIFAR_MEAN), "--std", ",".join(CIFAR_STD)]
    lines, plans = [], []
    sources = {"state dict": [str(file), "--arch", f"{cifar_resnet.__file__}:resnet56"], "ONNX": [str(onnx)]}
    for title, arguments in sources.items():
        folder = work / f"resnet56-{title.replace(' ', '-').lower()}"
        failure, seconds = compress([*arguments, *images], folder)
        if failure:
            lines.append(f"| {title} | {failure} |")
            continue
        plans.append(read_plan(folder))
        report = json.loads((folder / "report.json").read_text())
        steps = ", ".join(f"{each['stage']} {each['top1_percent']:.2f}" for each in report["accuracy"])
        same = "–" if len(plans) == 1 else "yes" if plans[0].groups == plans[1].groups else "NO"
        lines.append(f"| {title} | {len(plans[-1].groups)} | {same} | {steps} | {seconds:.0f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--weights", type=Path, help="folder of resnet56_cifar10.pt")
    parser.add_argument("--data", type=Path, help="folder of CIFAR-10's train.parquet and test.parquet")
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work/model_files"))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    torch.backends.mha.set_fastpath_enabled(False)
    print(f"{HEADS}\n|{'---|' * 6}")
    for name in filter(None, options.models.split(",")):
        for form in FORMS:
            kept = options.work / f"{name}.{form.suffix}.json"
            if not kept.exists():
                kept.write_text(json.dumps(compare(name, form, options.work)))
            print(row(name, form.title, json.loads(kept.read_text())), flush=True)
    if options.weights and options.data:
        print("\n| ResNet-56 from | groups | same plan | accuracy | seconds |\n|---|---|---|---|---|")
        print("\n".join(resnet56(options.weights, options.data, options.work)), flush=True)


if __name__ == "__main__":
    main()
