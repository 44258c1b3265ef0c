"""profile.json: what `compress profile -o FOLDER` measured, raw; its page and its tables are made from it.

Its JSON schema is published in docs/schemas/profile.schema.json.
"""

from __future__ import annotations

from dataclasses import dataclass

from compressor.core.measurement import Comparison, MachineFacts, Measurement
from compressor.core.scenario import Scenario
from compressor.core.startup import Startup

# 1: first.
PROFILE_FORMAT = 1


@dataclass(frozen=True)
class Profile:
    """Files on one target with one number of threads and one batch size; comparisons are with the first file."""

    target: str
    measurements: tuple[Measurement, ...]
    comparisons: tuple[Comparison, ...]
    startups: tuple[Startup, ...] = ()  # one a file, each started alone
    scenarios: tuple[Scenario, ...] = ()  # MLPerf LoadGen's, where they were asked for

    @property
    def threads(self) -> int:
        """Of the runtime."""
        return self.measurements[0].threads

    @property
    def batch_size(self) -> int:
        """Inputs per inference."""
        return self.measurements[0].batch_size


@dataclass(frozen=True)
class ProfileReport:
    """Everything that was measured in one call."""

    profiles: tuple[Profile, ...]  # by target, then threads, then batch size
    machine: MachineFacts  # before anything was measured
    created: str = ""  # ISO 8601, UTC
    compressor_version: str = ""
    format: int = PROFILE_FORMAT
