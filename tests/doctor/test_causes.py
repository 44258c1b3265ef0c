"""Each cause is found in a model in which it was planted, and not in the same model without it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from benchmarks.planted import PLANTED, TARGET, Patient, Planted
from compressor.core.findings import Diagnosis
from compressor.doctor import CAUSES
from compressor.profiling.lab import Lab
from compressor.profiling.speeds import Speeds, measure_speeds
from compressor.runs.anatomy import anatomy
from compressor.runs.doctor import diagnose
from compressor.targets import factory_of


@pytest.fixture(scope="module")
def speeds_with(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Speeds]:
    @cache
    def measured(threads: int) -> Speeds:
        with Lab(TARGET, factory_of(TARGET)) as lab:
            return measure_speeds(lab, threads, ".onnx", tmp_path_factory.mktemp("speeds"))

    return measured


def examine(patient: Patient, cause: str, speeds: Speeds) -> Diagnosis:
    files = [patient.before, patient.file] if patient.before else [patient.file]
    with anatomy(TARGET, files, threads=patient.threads, batch_size=patient.batch_size, speeds=speeds) as examined:
        return diagnose(examined, causes=[cause])


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_it_is_found_where_it_is_and_not_where_it_is_not(
    plant: Callable[[Path], Planted], speeds_with: Callable[[int], Speeds], tmp_path: Path
) -> None:
    planted = plant(tmp_path)
    sick = examine(planted.sick, planted.cause, speeds_with(planted.sick.threads))
    healthy = examine(planted.healthy, planted.cause, speeds_with(planted.healthy.threads))
    assert [finding.cause for finding in sick.findings][:1] == [planted.cause], sick.skipped
    finding = sick.findings[0]
    assert any(digit in finding.evidence for digit in "0123456789")
    assert finding.advice.endswith(".") and finding.evidence.endswith(".")
    if finding.interval is not None:
        assert finding.ratio is not None
        assert finding.interval[0] <= finding.ratio <= finding.interval[1]
    assert healthy.findings == ()


def test_every_cause_is_planted() -> None:
    assert sorted(plant.__name__ for plant in PLANTED) == CAUSES.names()


@pytest.mark.parametrize("name", CAUSES.names())
def test_every_cause_says_what_it_is(name: str) -> None:
    assert CAUSES.load(name).summary
