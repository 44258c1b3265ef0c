"""Time and peak memory up to a verified ONNX file, beside torch-pruning's pruner + torch.onnx.export + onnxsim.

Both sides halve the MACs of the same model in a fresh process each, in turns; the figures are ratios (ours / theirs)
with their range over the rounds. Ours also tries every group on a copy, checks the cut against masking, writes
model.pt2 and compares the files with the module; theirs does none of that.

    python benchmarks/pipeline_cost.py [--model resnet50] [--rounds 3] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import psutil

OURS = """
import sys, torch, torchvision
from pathlib import Path
import compressor
torch.manual_seed(0)
model = getattr(torchvision.models, sys.argv[1])().eval()
run = compressor.compress(model, torch.randn(1, 3, 224, 224), macs=0.5, method="l1", export=["onnx"])
run.save(Path(sys.argv[2]) / "run")
"""

THEIRS = """
import sys, warnings, onnx, onnxsim, torch, torch_pruning, torchvision
from pathlib import Path
torch.manual_seed(0)
model = getattr(torchvision.models, sys.argv[1])().eval()
example = torch.randn(1, 3, 224, 224)
head = [m for m in model.modules() if isinstance(m, torch.nn.Linear)][-1]
importance = torch_pruning.importance.MagnitudeImportance(p=1)
pruner = torch_pruning.pruner.BasePruner(model, example, importance, pruning_ratio=0.3, ignored_layers=[head])
pruner.step()
path = Path(sys.argv[2]) / "model.onnx"
batch = torch.export.Dim("batch")
torch.onnx.export(model, (torch.randn(2, 3, 224, 224),), path, dynamo=True, dynamic_shapes=({0: batch},))
simplified, _ = onnxsim.simplify(onnx.load(path))
onnx.save(simplified, path)
"""


def measure(code: str, model: str, threads: int) -> tuple[float, float]:
    """(seconds, peak MiB of the process and its children together) of one fresh process.

    Memory is the proportional set size: pages that processes share (PyTorch's libraries) count once.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", code, model, folder],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, _memory(process.pid))
            time.sleep(0.05)
        seconds = time.perf_counter() - start
        if process.returncode:
            raise SystemExit(process.stderr.read().decode()[-2000:] if process.stderr else "failed")
    return seconds, peak / 2**20


def _memory(pid: int) -> int:
    try:
        parent = psutil.Process(pid)
        return sum(p.memory_full_info().pss for p in [parent, *parent.children(recursive=True)])
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    rows = []
    for number in range(arguments.rounds):
        sides = {"ours": OURS, "theirs": THEIRS}
        order = list(sides) if number % 2 == 0 else list(sides)[::-1]
        found = {side: measure(sides[side], arguments.model, arguments.threads) for side in order}
        rows.append(found)
        print(
            json.dumps({side: {"seconds": round(s, 1), "peak_mib": round(m)} for side, (s, m) in found.items()}),
            flush=True,
        )
    for name, index in (("time", 0), ("peak memory", 1)):
        ratios = [row["ours"][index] / row["theirs"][index] for row in rows]
        print(f"{name}: ours / theirs = {statistics.median(ratios):.2f} (range {min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
