"""Does the timing tell the truth? A file against itself, and a model against one with a tenth of its MACs.

    python benchmarks/timing_honesty.py [--runs 20] [--targets onnxruntime:cpu,openvino:cpu] [--results FILE]

Prints one row per target and experiment and ends with exit code 1 if a row misses its floor: a file against itself
must get "no significant difference" in 95 % of the runs, the tenth must be "faster" in all. Each run is written to the
results file when it is done, and a second start goes on from there.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from torch import nn

from compressor.profiling.compare import FASTER, NO_DIFFERENCE, compare
from compressor.profiling.timer import measure
from compressor.targets import factory_of

EXPERIMENTS = {"itself": (NO_DIFFERENCE, 0.95), "a tenth of its MACs": (FASTER, 1.0)}


class ResNet20(nn.Module):
    """The CIFAR ResNet of 20 layers with 1x1 shortcuts, `width` channels in its first stage."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width] * 3 + [2 * width] * 3 + [4 * width] * 3
        self.stem = _conv(3, width, 1)
        self.blocks = nn.ModuleList(
            _Block(before, after, 2 if after != before else 1)
            for before, after in zip([width, *widths], widths, strict=False)
        )
        self.head = nn.Linear(4 * width, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, 32, 32) to (N, 10)."""
        x = torch.relu(self.stem(images))  # (N, width, 32, 32)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))  # (N, 10)


class _Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = _conv(before, after, stride), _conv(after, after, 1)
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


def _conv(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after))


def export(width: int, path: Path) -> None:
    images = torch.randn(1, 3, 32, 32)
    with warnings.catch_warnings():  # the exporter's own deprecation notice
        warnings.simplefilter("ignore")
        torch.onnx.export(ResNet20(width).eval(), (images,), str(path), dynamo=False, input_names=["images"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--targets", default="onnxruntime:cpu,openvino:cpu")
    parser.add_argument("--results", type=Path, default=Path("timing_honesty.jsonl"))
    options = parser.parse_args()

    done = [json.loads(line) for line in options.results.read_text().splitlines()] if options.results.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        base, copy, tenth = (Path(folder) / f"{name}.onnx" for name in ("base", "copy", "tenth"))
        torch.manual_seed(0)
        width = 32
        export(width, base)
        shutil.copy(base, copy)
        export(round(width * math.sqrt(0.1)), tenth)  # MACs grow with the square of the width
        for target in options.targets.split(","):
            for experiment, other in zip(EXPERIMENTS, (copy, tenth), strict=True):
                n_done = sum(row["target"] == target and row["against"] == experiment for row in done)
                for _ in range(n_done, options.runs):
                    found = compare(*measure([base, other], target, factory_of(target)))
                    row = {
                        "target": target,
                        "against": experiment,
                        "verdict": found.verdict,
                        "ratio": found.ratio,
                        "interval": found.interval,
                        "warnings": found.warnings,
                    }
                    done.append(row)
                    with options.results.open("a") as file:
                        file.write(json.dumps(row) + "\n")
                    print(
                        f"{target} against {experiment}: {found.ratio:.3f} {found.interval} {found.verdict}", flush=True
                    )
    return report(done, options.targets.split(","), options.runs)


def report(rows: list[dict[str, object]], targets: list[str], runs: int) -> int:
    """Prints the table; 0 if every row reaches its floor."""
    failed = False
    print(
        f"\n{'target':18}{'against':22}{'expected':28}{'right':>8}  {'ratio, lowest to highest':26}{'median width':>13}"
    )
    for target in targets:
        for experiment, (expected, floor) in EXPERIMENTS.items():
            own = [row for row in rows if row["target"] == target and row["against"] == experiment][:runs]
            right = sum(row["verdict"] == expected for row in own)
            ratios = sorted(float(row["ratio"]) for row in own)
            widths = sorted((row["interval"][1] - row["interval"][0]) / row["ratio"] for row in own)
            failed |= right < math.floor(floor * len(own))
            spread = f"{ratios[0]:.3f} to {ratios[-1]:.3f}"
            print(
                f"{target:18}{experiment:22}{expected:28}{right:>4}/{len(own):<3}  {spread:26}"
                f"{widths[len(widths) // 2]:>13.1%}"
            )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
