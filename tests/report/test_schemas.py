from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from compressor.core.measurement import MachineFacts, Measurement
from compressor.core.plan import AttributeChange, GroupPlan, PruningPlan, TensorCut
from compressor.core.serial import from_json, to_json
from compressor.report.schema import Report
from compressor.report.schemas import published, write_schemas

COMMITTED = Path(__file__).parents[2] / "docs" / "schemas"


def validate(text: str, schema: str) -> None:
    jsonschema.Draft202012Validator(json.loads(published()[schema])).validate(json.loads(text))


@pytest.mark.parametrize("name", sorted(published()))
def test_the_committed_schema_is_the_one_that_the_code_makes(name: str) -> None:
    wanted = published()[name]
    assert (COMMITTED / name).read_text(encoding="utf-8") == wanted, (
        "run: python -m compressor.report.schemas docs/schemas"
    )
    jsonschema.Draft202012Validator.check_schema(json.loads(wanted))


def test_no_other_schema_is_committed() -> None:
    assert {path.name for path in COMMITTED.glob("*.schema.json")} == set(published())


def test_a_report_survives_and_is_valid(any_report: Report) -> None:
    text = to_json(any_report)
    assert from_json(Report, text, "report.json") == any_report
    validate(text, "report.schema.json")


def test_an_error_that_is_not_finite_survives_as_null(reports: dict[str, Report]) -> None:
    text = to_json(reports["slower"])
    validate(text, "report.schema.json")
    broken = [row for row in from_json(Report, text, "report.json").parity if row.batch_size == 0]
    assert [(row.max_abs_error, row.max_rel_error) for row in broken] == [(None, None)]


@pytest.mark.parametrize(("field", "value"), [("macs", 3), ("latency", {}), ("exit_code", "0"), ("model", None)])
def test_a_wrong_report_is_refused(reports: dict[str, Report], field: str, value: Any) -> None:
    wrong = json.dumps({**json.loads(to_json(reports["full"])), field: value})
    with pytest.raises(jsonschema.ValidationError):
        validate(wrong, "report.schema.json")


def test_a_plan_is_valid() -> None:
    plan = PruningPlan(
        method="l1",
        method_options={"p": 1},
        allocation="local",
        budget={"macs": 0.5},
        round_to=4,
        seed=0,
        groups={"conv1": GroupPlan(4, (0, 2))},
        cuts=(TensorCut("conv1.weight", 0, 4, (0, 2)),),
        attributes=(AttributeChange("conv1", "out_channels", 4, 2),),
        macs=(100, 50),
        params=(40, 20),
    )
    text = to_json(plan)
    assert from_json(PruningPlan, text, "plan.json") == plan
    validate(text, "plan.schema.json")


def test_measurements_are_valid() -> None:
    machine = MachineFacts("cpu", 2, 2, 4096, "Linux", "3.11")
    measurement = Measurement(
        "onnxruntime:cpu", Path("model.onnx"), "00" * 32, 1, 1, ((0.001, 0.002),), ((0.004,),), machine
    )
    text = to_json([measurement], list[Measurement])
    assert from_json(list[Measurement], text, "measurements.json") == [measurement]
    validate(text, "measurements.schema.json")


def test_schemas_are_written(tmp_path: Path) -> None:
    paths = write_schemas(tmp_path / "new" / "schemas")
    assert {path.name: path.read_text(encoding="utf-8") for path in paths} == published()
