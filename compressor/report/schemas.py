"""The JSON schemas of the files in a run folder, and of profile.json.

`python -m compressor.report.schemas docs/schemas` writes them again after a type has changed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from compressor.core.files import write_atomically
from compressor.core.measurement import Measurement
from compressor.core.plan import PruningPlan
from compressor.core.serial import json_schema
from compressor.report.profile_schema import ProfileReport
from compressor.report.schema import Report

DIALECT = "https://json-schema.org/draft/2020-12/schema"

# Schema file -> (type, what it is the schema of).
PUBLISHED: dict[str, tuple[Any, str]] = {
    "report.schema.json": (Report, "report.json: a finished run, everything that a pipeline reads"),
    "plan.schema.json": (PruningPlan, "plan.json: the channels that were kept, replayable on the user's own class"),
    "profile.schema.json": (ProfileReport, "profile.json: files timed and started by compress profile, raw samples"),
    "measurements.schema.json": (list[Measurement], "measurements.json: raw timing samples with the machine's facts"),
}


def published() -> dict[str, str]:
    """File name -> text of every published schema."""
    texts = {}
    for name, (kind, title) in PUBLISHED.items():
        schema = {**json.loads(json_schema(kind)), "$schema": DIALECT, "title": title}
        texts[name] = json.dumps(schema, indent=1, sort_keys=True) + "\n"
    return texts


def write_schemas(folder: Path) -> list[Path]:
    """Writes every schema into `folder`, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in published().items():
        paths.append(folder / name)
        write_atomically(folder / name, text)
    return paths


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m compressor.report.schemas FOLDER")
    for written in write_schemas(Path(sys.argv[1])):
        print(written)
