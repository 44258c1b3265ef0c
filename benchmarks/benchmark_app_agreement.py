"""Do our medians agree with OpenVINO's own benchmark_app?

    python benchmarks/benchmark_app_agreement.py [--models mobilenet_v3_small,resnet18] [--repeats 5] [--seconds 4]

Each repeat runs benchmark_app (latency hint, one thread, float32) and our timer on the same file, one right after the
other and in turns first, so that both meet the same machine. Ends with exit code 1 if the medians of a model differ by
more than 5 %.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import psutil
import torch
import torchvision

from compressor.profiling.statistics import latency_stats
from compressor.profiling.timer import measure
from compressor.targets import factory_of

ALLOWED = 0.05
QUIET_PERCENT = 15.0
QUIET_LIMIT_S = 120.0


def export(model: str, path: Path) -> None:
    torch.manual_seed(0)
    module = getattr(torchvision.models, model)(weights=None).eval()
    with warnings.catch_warnings():  # the exporter's own deprecation notice
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.randn(1, 3, 224, 224),), str(path), dynamo=False, input_names=["images"])


def benchmark_app_ms(path: Path, seconds: int) -> float:
    """Median latency by benchmark_app, milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        # Its command line refuses -nthreads beside -hint; the configuration file takes both, as OpenVINO itself does.
        config = Path(folder) / "config.json"
        config.write_text(json.dumps({"CPU": {"INFERENCE_NUM_THREADS": "1"}}))
        command = f"-m {path} -d CPU -hint latency -load_config {config} -infer_precision f32 -t {seconds}"
        arguments = [*command.split(), "-report_type", "no_counters", "-json_stats", "-report_folder", folder]
        program = "import sys; from openvino.tools.benchmark.main import main; sys.exit(main())"
        done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"benchmark_app failed: {done.stdout[-500:]} {done.stderr[-500:]}")
        report = json.loads((Path(folder) / "benchmark_report.json").read_text())
    return float(report["execution_results"]["latency (ms)"])


def ours_ms(path: Path, seconds: float) -> float:
    """Median latency by our timer, milliseconds."""
    (measurement,) = measure([path], "openvino:cpu", factory_of("openvino:cpu"), seconds=seconds)
    return latency_stats(measurement.samples_s).median_ms


def wait_until_quiet() -> None:
    """Returns when other programs leave most of the machine alone, or after two minutes with a line that says so."""
    deadline = time.monotonic() + QUIET_LIMIT_S
    while psutil.cpu_percent(interval=2) > QUIET_PERCENT:
        if time.monotonic() > deadline:
            print("the machine stays busy: the two may meet different load", flush=True)
            return


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="mobilenet_v3_small,resnet18")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    options = parser.parse_args()

    failed = False
    for model in options.models.split(","):
        pairs = []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{model}.onnx"
            export(model, path)
            for i in range(options.repeats):
                wait_until_quiet()
                if i % 2 == 0:
                    theirs, ours = benchmark_app_ms(path, options.seconds), ours_ms(path, options.seconds)
                else:
                    ours, theirs = ours_ms(path, options.seconds), benchmark_app_ms(path, options.seconds)
                pairs.append((theirs, ours))
                print(
                    f"{model}: benchmark_app {theirs:.3f} ms, ours {ours:.3f} ms, {ours / theirs - 1:+.1%}", flush=True
                )
        difference = statistics.median(ours / theirs for theirs, ours in pairs) - 1
        failed |= abs(difference) > ALLOWED
        calmest = min(ours for _, ours in pairs) / min(theirs for theirs, _ in pairs) - 1
        print(
            f"{model}: median difference {difference:+.1%} (allowed {ALLOWED:.0%}); "
            f"between the least disturbed run of each {calmest:+.1%}",
            flush=True,
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
