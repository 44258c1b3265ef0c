"""The fresh process in which a file proves itself: python -m exporters.worker FOLDER

FOLDER holds `job.json` ({"format", "path", "input_names", "n_cases"}) and `inputs.npz` (array "CASE.INPUT", both
counted from 0). It gets `outputs.npz` (array "CASE.OUTPUT") and `answer.json` ({"output_names", "n_outputs"}).
Nothing is imported but NumPy and the format's own runtime.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from exporters.discovery import format_class


def main(folder: Path) -> int:
    """Runs every case; returns the exit code. The last line on stderr says what went wrong."""
    job = json.loads((folder / "job.json").read_text())
    try:
        loaded = format_class(job["format"])().load(Path(job["path"]))
        names = list(loaded.input_names)
        if sorted(names) != sorted(job["input_names"]):
            raise ValueError(
                f"the file's inputs are {', '.join(names)}, but the module's are {', '.join(job['input_names'])}"
            )
        outputs, n_outputs = {}, 0
        with np.load(folder / "inputs.npz") as inputs:
            for case in range(job["n_cases"]):
                arrays = [inputs[f"{case}.{job['input_names'].index(name)}"] for name in names]
                results = loaded.run(arrays)
                n_outputs = len(results)
                outputs.update({f"{case}.{index}": array for index, array in enumerate(results)})
    except Exception as error:  # whatever a runtime raises for a broken file
        sentence = " ".join(str(error).split())
        print(f"{type(error).__name__}: {sentence}", file=sys.stderr)
        return 1
    np.savez(folder / "outputs.npz", **outputs)
    answer = {"output_names": loaded.output_names, "n_outputs": n_outputs}
    (folder / "answer.json").write_text(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
