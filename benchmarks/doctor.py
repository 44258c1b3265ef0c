"""Plants every cause that the doctor knows into a model, and prints whether it finds it there and not elsewhere.

    python benchmarks/doctor.py [CAUSE...]

Exits with 1 if one was missed, or found where it is not.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from planted import PLANTED, TARGET, Patient

from compressor.core.findings import Diagnosis
from compressor.runs.anatomy import anatomy
from compressor.runs.doctor import diagnose


def examine(patient: Patient) -> Diagnosis:
    """The whole doctor on one planted file."""
    files = [patient.before, patient.file] if patient.before else [patient.file]
    with anatomy(TARGET, files, threads=patient.threads, batch_size=patient.batch_size) as examined:
        return diagnose(examined)


def main(causes: list[str]) -> int:
    print(f"{'cause':20} {'planted':28} {'ratio':>18} {'without it':12} {'other findings':30} seconds")
    wrong = 0
    for plant in PLANTED:
        if causes and plant.__name__ not in causes:
            continue
        with tempfile.TemporaryDirectory() as folder:
            planted = plant(Path(folder))
            sick, healthy = examine(planted.sick), examine(planted.healthy)
        found = next((f for f in sick.findings if f.cause == planted.cause), None)
        false = any(f.cause == planted.cause for f in healthy.findings)
        wrong += (found is None) + false
        others = sorted({f.cause for f in sick.findings} - {planted.cause})
        ratio = (
            f"{found.ratio:.2f} [{found.interval[0]:.2f}, {found.interval[1]:.2f}]" if found and found.interval else ""
        )
        place = f"found{f' at {found.layer}' if found.layer else ''}" if found else "MISSED"
        without = "FOUND" if false else "not found"
        seconds = f"{sick.seconds:.0f} + {healthy.seconds:.0f}"
        print(f"{planted.cause:20} {place:28} {ratio:>18} {without:12} {', '.join(others):30} {seconds}", flush=True)
        if found:
            print(f"    {found.evidence}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
