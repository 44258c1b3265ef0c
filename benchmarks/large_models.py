"""Public architectures with random weights, halved in MACs: cut, exported, verified, timed by the command line.

Each model is one process with a time limit; finished ones are kept in --work, so the benchmark goes on where it was.

    python benchmarks/large_models.py [--models torchvision:resnet50,timm:convnext_atto] [--work benchmarks/work/large]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

MODELS = (
    "torchvision:resnet50",
    "torchvision:mobilenet_v3_small",
    "torchvision:densenet121",
    "torchvision:vit_b_16",
    "timm:convnext_atto",
    "timm:efficientnet_b0",
    "timm:inception_v4",
)
LIMIT_S = 1200


def save_model(name: str, path: Path) -> None:
    """A pickled module with random weights."""
    import timm
    import torch
    import torchvision

    torch.manual_seed(0)
    library, _, kind = name.partition(":")
    model = timm.create_model(kind) if library == "timm" else torchvision.models.get_model(kind)
    torch.save(model.eval(), path)


def run(name: str, work: Path, targets: str) -> dict[str, object]:
    """The report of one model's run, or why there is none."""
    stem = name.replace(":", "_")
    model, folder = work / f"{stem}.pt", work / stem
    if not (folder / "report.json").exists():
        save_model(name, model)
        command = [sys.executable, "-m", "compressor", str(model), "--macs", "50%", "--export", "onnx,openvino"]
        start = time.perf_counter()
        done = subprocess.run(
            [*command, "--on", targets, "-o", str(folder)], capture_output=True, text=True, timeout=LIMIT_S
        )
        seconds = time.perf_counter() - start
        model.unlink()
        if done.returncode:
            return {"model": name, "failure": f"exit {done.returncode}: {done.stderr.strip().splitlines()[-1]}"}
        (folder / "seconds.txt").write_text(str(seconds))
    report = json.loads((folder / "report.json").read_text())
    return {"model": name, "report": report, "seconds": float((folder / "seconds.txt").read_text())}


def row(found: dict[str, object]) -> str:
    """One line of the Markdown table."""
    if "failure" in found:
        return f"| {found['model']} | {found['failure']} |"
    report = found["report"]
    macs, params = report["macs"], report["params"]
    worst = max(parity["max_rel_error"] for parity in report["parity"])
    agrees = "yes" if all(parity["passed"] for parity in report["parity"]) else "NO"
    times = [
        f"{t['ratio']:.2f}x [{t['interval'][0]:.2f}, {t['interval'][1]:.2f}]" if t["ratio"] else t["unavailable"]
        for t in report["latency"]
    ]
    speed = " | ".join(times)
    return (
        f"| {found['model']} | {report['prunable_macs_share']:.0%} | {macs['after'] / macs['before']:.1%} | "
        f"{params['after'] / params['before']:.1%} | {agrees} ({worst:.0e}) | {speed} | {found['seconds']:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--on", default="onnxruntime:cpu,openvino:cpu")
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work/large"))
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    heads = " | ".join(arguments.on.split(","))
    print(f"| model | prunable MACs | MACs left | parameters left | files agree (worst relative) | {heads} | seconds |")
    print("|" + "---|" * (6 + len(arguments.on.split(","))))
    for name in arguments.models.split(","):
        print(row(run(name, arguments.work, arguments.on)), flush=True)


if __name__ == "__main__":
    main()
