"""Values to JSON and back, checked on the way in."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.core.errors import ContractViolation, ModelFileError
from compressor.core.serial import from_json, json_schema, load_json, save_json, to_json, to_plain


@dataclass(frozen=True)
class Inner:
    numbers: tuple[float, ...]
    path: Path = Path("a")

    def __post_init__(self):
        if 13.0 in self.numbers:
            raise ContractViolation("13 brings bad luck")


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    notes: dict[str, int] = field(default_factory=dict)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: x != 13)), st.text(), st.integers())
def test_round_trip(numbers, name, count):
    value = Outer(name, Inner(tuple(numbers)), {"count": count})
    assert from_json(Outer, to_json(value), "file") == value
    assert json.loads(to_json(value)) == to_plain(value)


def test_files(tmp_path):
    values = [Inner((1.0,)), Inner((2.0,), Path("b/c"))]
    save_json(values, tmp_path / "values.json", list[Inner])
    assert load_json(list[Inner], tmp_path / "values.json") == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "file: not a valid Outer"),
        ("{", "file: not a valid Outer"),
        ('{"name": "a"}', r"file: not a valid Outer \(inner: Field required\)"),
        ('{"name": "a", "inner": {"numbers": ["x"]}}', r"inner.numbers.0: Input should be a valid number"),
        ('{"name": "a", "inner": {"numbers": [13.0]}}', r"not a valid Outer \(13 brings bad luck\)"),
    ],
)
def test_what_does_not_fit(text, message):
    with pytest.raises(ModelFileError, match=message):
        from_json(Outer, text, "file")


def test_schema():
    schema = json.loads(json_schema(Outer))
    assert schema["required"] == ["name", "inner"] and "numbers" in schema["$defs"]["Inner"]["properties"]
