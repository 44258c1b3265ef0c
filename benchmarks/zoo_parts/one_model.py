"""One model in a process of its own: all stages, and a file that is up to date whenever the process may be ended.

python -m zoo_parts.one_model MODELS.csv NAME OUTCOME.json
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path

from compressor.core import serial
from compressor.core.errors import CompressionError
from exporters.errors import ExportError
from zoo_parts.entries import read_entries
from zoo_parts.results import FAILED, NOT_REACHED, PASSED, SENTENCE, TRACEBACK, Outcome, StageResult
from zoo_parts.sentences import Failed, in_one_line, with_place
from zoo_parts.stages import STAGES, Subject


def run(subject: Subject, outcome_path: Path) -> None:
    """Every stage whose need passed; the outcome is saved before each and at the end."""
    ended: dict[str, StageResult] = {}
    facts: dict[str, float | int | str | bool] = {}

    def report(running: str) -> None:
        stages = tuple(ended.get(name, StageResult(name, NOT_REACHED)) for name, _, _ in STAGES)
        serial.save_json(Outcome(stages, facts, running), outcome_path)

    for name, stage, need in STAGES:
        if need and (need not in ended or ended[need].status != PASSED):
            continue
        report(name)
        start = time.perf_counter()
        try:
            facts.update(stage(subject))
            status, sentence, left_behind = PASSED, "", ""
        except (CompressionError, ExportError, Failed) as error:
            status, sentence, left_behind = FAILED, in_one_line(str(error)), SENTENCE
        except Exception as error:  # a bug of ours: users would see a traceback
            status, sentence, left_behind = FAILED, with_place(error), TRACEBACK
        ended[name] = StageResult(name, status, time.perf_counter() - start, sentence, left_behind)
    report("")


def main() -> None:
    models, name, outcome_path = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    entry = next(entry for entry in read_entries(models) if entry.name == name)
    with tempfile.TemporaryDirectory(prefix="zoo-") as workspace:
        run(Subject(entry, models.resolve().parent, Path(workspace)), outcome_path)


if __name__ == "__main__":
    main()
