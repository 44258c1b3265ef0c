"""The values that cross this package's border; plain data, so that they print in one line and save as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class ExportedFile:
    """A file that a runtime loads, and what is known of it."""

    format: str  # plug-in name: "onnx", "openvino", "pt2"
    path: Path  # the file that the runtime opens; companions (weights beside it) are in `companions`
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    dynamic_batch: bool
    n_bytes: int  # of `path` and its companions together
    sha256: str  # of `path`
    companions: tuple[Path, ...] = ()
    details: dict[str, str] = field(default_factory=dict)  # opset, IR version, exporter, simplifier, why a fallback


@dataclass(frozen=True)
class ParityCheck:
    """One comparison of the file's outputs with the module's."""

    batch_size: int
    inputs: str  # where they come from: "random, seed 0", "zeros", "calibration images"
    max_abs_error: float
    max_rel_error: float  # max |file - module| / max |module|, over all outputs
    passed: bool


@dataclass(frozen=True)
class Verification:
    """What came of loading a file in a fresh process and comparing it with the module."""

    format: str
    path: Path
    rel_tolerance: float
    abs_tolerance: float
    checks: tuple[ParityCheck, ...]
    failure: str = ""  # why it could not be compared at all; empty where it could

    @property
    def passed(self) -> bool:
        """Whether every comparison was made and agreed."""
        return not self.failure and bool(self.checks) and all(check.passed for check in self.checks)
