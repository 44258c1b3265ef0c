"""What is known of one model, as one JSON file: our stages, and torch-pruning's own result."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from compressor.core import serial
from compressor.core.errors import ModelFileError

# How a stage ended.
PASSED, FAILED, NOT_REACHED = "passed", "failed", "not reached"
# What a failure left behind: one of our errors' sentences; an error that is none of ours, which users would see as a
# traceback; the time or memory limit; a process that died.
SENTENCE, TRACEBACK, LIMIT, CRASH = "sentence", "traceback", "limit", "crash"
# How torch-pruning ended.
PASS, FAIL, NOTHING = "pass", "fail", "prunes nothing"


@dataclass(frozen=True)
class StageResult:
    """One stage of one model."""

    name: str
    status: str
    seconds: float = 0.0
    sentence: str = ""  # of a failure
    left_behind: str = ""  # of a failure: SENTENCE, TRACEBACK, LIMIT or CRASH


@dataclass(frozen=True)
class Outcome:
    """Our own stages, in order, with what they found out."""

    stages: tuple[StageResult, ...]
    facts: dict[str, float | int | str | bool] = field(default_factory=dict)
    running: str = ""  # the stage under way when this was written; empty at the end
    seconds: float = 0.0  # of the whole process, its start included
    peak_bytes: int = 0  # resident memory of the process and its children together

    @property
    def passed(self) -> bool:
        """Whether every stage was reached and passed."""
        return bool(self.stages) and all(stage.status == PASSED for stage in self.stages)

    @property
    def failure(self) -> StageResult | None:
        """The first stage that failed."""
        return next((stage for stage in self.stages if stage.status == FAILED), None)

    def status(self, stage: str) -> str:
        """How the stage of this name ended."""
        return next((s.status for s in self.stages if s.name == stage), NOT_REACHED)


@dataclass(frozen=True)
class Rival:
    """What torch-pruning's pruner did with the same model."""

    status: str  # PASS, FAIL or NOTHING
    sentence: str = ""  # "[stage] class: message (place)"
    seconds: float = 0.0


@dataclass(frozen=True)
class Result:
    """One model's file. What was not run yet is None."""

    model: str
    family: str
    ours: Outcome | None = None
    torch_pruning: Rival | None = None
    cpu: str = ""
    versions: dict[str, str] = field(default_factory=dict)


def result_path(work: Path, model: str) -> Path:
    """The model's file in the work folder."""
    return work / f"{model.replace(':', '_').replace('/', '_')}.json"


def read_result(work: Path, model: str) -> Result | None:
    """What is known; None where there is nothing, or the file is damaged or of an older version of the zoo."""
    path = result_path(work, model)
    if not path.is_file():
        return None
    try:
        return serial.load_json(Result, path)
    except ModelFileError:
        return None
