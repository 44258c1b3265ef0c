"""Fail a build when a compressed model falls below its floors; reads nothing but report.json.

    python deploy_examples/gate_a_build.py demo-run/run --min-accuracy 95 --max-drop 2 --min-speedup 1.2

Speed is judged by the lower end of the 95 % interval, so noise does not pass and luck does not count.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def failures(report: dict, min_accuracy: float | None, max_drop: float | None, min_speedup: float | None) -> list[str]:
    """One sentence per floor that was not reached."""
    found = []
    if not all(row["passed"] for row in report["parity"]):
        found.append("an exported file disagrees with the model")
    accuracy = {row["stage"]: row["top1_percent"] for row in report["accuracy"]}
    if (min_accuracy is not None or max_drop is not None) and not accuracy:
        found.append("accuracy is unknown: the run had no --val")
    elif accuracy:
        final = list(accuracy.values())[-1]
        if min_accuracy is not None and final < min_accuracy:
            found.append(f"accuracy is {final:.2f} %, below {min_accuracy:g} %")
        if max_drop is not None and accuracy["dense"] - final > max_drop:
            found.append(f"accuracy fell by {accuracy['dense'] - final:.2f} points, more than {max_drop:g}")
    if min_speedup is not None:
        timed = [row for row in report["latency"] if not row["unavailable"]]
        if not timed:
            found.append("no target was timed")
        found += [
            f"{row['target']}: surely only {row['interval'][0]:.2f}x faster, not {min_speedup:g}x"
            for row in timed
            if row["interval"] is None or row["interval"][0] < min_speedup
        ]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--min-accuracy", type=float, help="percent")
    parser.add_argument("--max-drop", type=float, help="points below the dense model")
    parser.add_argument("--min-speedup", type=float, help="on every target that was timed")
    arguments = parser.parse_args()
    report = json.loads((arguments.run / "report.json").read_text())
    found = failures(report, arguments.min_accuracy, arguments.max_drop, arguments.min_speedup)
    for sentence in found:
        print(f"gate: {sentence}")
    print("gate: " + ("closed" if found else "open"))
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
