"""What the step of widths does to speed: ResNet-56 at the same share of MACs, in widths of several multiples.

Untrained: widths and times do not depend on the weights' values. 0 is the default rule (`planning/rounding.py`).

    python benchmarks/width_steps.py [--steps 0,1,4,8] [--macs 0.5] [--on onnxruntime:cpu,openvino:cpu]
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
import cifar_resnet

import compressor


def row(step: int, macs: float, targets: list[str]) -> str:
    """One step as a line of the table."""
    torch.manual_seed(0)
    run = compressor.compress(
        cifar_resnet.resnet56().eval(),
        torch.randn(1, 3, 32, 32),
        macs=macs,
        round_to=step,
        export=["onnx", "openvino"],
        on=targets,
    )
    report = run.report()
    widths = Counter((group.n_channels, len(group.keep)) for group in run.plan.groups.values())
    kept = ", ".join(f"{n} of {whole} ({times}x)" for (whole, n), times in sorted(widths.items()))
    times = " | ".join(f"{t.ratio:.2f}x [{t.interval[0]:.2f}, {t.interval[1]:.2f}]" for t in report.latency)
    return f"| {step or 'default'} | {report.macs.after / report.macs.before:.1%} | {kept} | {times} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", default="0,1,4,8")
    parser.add_argument("--macs", type=float, default=0.5)
    parser.add_argument("--on", default="onnxruntime:cpu,openvino:cpu")
    arguments = parser.parse_args()
    targets = arguments.on.split(",")
    print(f"| step | MACs left | widths | {' | '.join(targets)} |")
    print("|---|---|---|" + "---|" * len(targets))
    for step in map(int, arguments.steps.split(",")):
        print(row(step, arguments.macs, targets), flush=True)


if __name__ == "__main__":
    main()
