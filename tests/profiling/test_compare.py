from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from compressor.core.errors import IncomparableMeasurements
from compressor.core.measurement import Measurement
from compressor.profiling.compare import FASTER, NO_DIFFERENCE, SLOWER, compare

Make = Callable[..., Measurement]
MakePair = Callable[..., tuple[Measurement, Measurement]]


def test_a_clear_difference_is_called_by_its_name(make_pair: MakePair) -> None:
    base, compressed = make_pair(0, 2.0)
    comparison = compare(base, compressed)
    assert comparison.verdict == FASTER
    assert comparison.interval[0] < comparison.ratio < comparison.interval[1]
    assert comparison.ratio == pytest.approx(2.0, rel=0.05)
    assert comparison.base.median_ms > comparison.compressed.median_ms
    assert compare(compressed, base).verdict == SLOWER


def test_a_file_against_itself_makes_no_difference(make_pair: MakePair) -> None:
    verdicts = [compare(*make_pair(seed, 1.0, between=0.03, within=0.03)).verdict for seed in range(100)]
    assert verdicts.count(NO_DIFFERENCE) >= 99


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(1.019, NO_DIFFERENCE), (1.021, FASTER), (1 / 1.019, NO_DIFFERENCE), (1 / 1.021, SLOWER)]
)
def test_differences_within_two_percent_do_not_count(make_measurement: Make, ratio: float, verdict: str) -> None:
    base = make_measurement([[ratio * 1e-3] * 10] * 6)
    compressed = make_measurement([[1e-3] * 10] * 6)
    assert compare(base, compressed).verdict == verdict


@pytest.mark.parametrize("n_processes", [1, 2])
def test_too_few_processes_give_no_verdict(make_measurement: Make, n_processes: int) -> None:
    comparison = compare(make_measurement([[2e-3] * 10] * n_processes), make_measurement([[1e-3] * 10] * n_processes))
    assert comparison.verdict == NO_DIFFERENCE
    assert comparison.ratio == pytest.approx(2)
    assert any("at least 3 processes" in warning for warning in comparison.warnings)


@pytest.mark.parametrize(
    ("key", "value"),
    [("target", "openvino:cpu"), ("batch_size", 8), ("threads", 2), ("details", {"runtime": "onnxruntime 2"})],
)
def test_what_differs_is_named(make_pair: MakePair, key: str, value: object) -> None:
    base, compressed = make_pair(0, 2.0)
    with pytest.raises(IncomparableMeasurements, match=f"compare: `{key}.*must be the same"):
        compare(base, replace(compressed, **{key: value}))


@pytest.mark.parametrize(("key", "value"), [("cpu", "Other CPU"), ("n_cores_usable", 1), ("governor", "powersave")])
def test_another_machine_is_named(make_pair: MakePair, key: str, value: object) -> None:
    base, compressed = make_pair(0, 2.0)
    other = replace(compressed, machine=replace(compressed.machine, **{key: value}))
    with pytest.raises(IncomparableMeasurements, match=f"`machine.{key}` must be the same") as caught:
        compare(base, other)
    assert caught.value.exit_code == 5


def test_the_load_may_differ(make_pair: MakePair) -> None:
    base, compressed = make_pair(0, 2.0)
    assert compare(base, replace(compressed, machine=replace(compressed.machine, load_1min=0.5))).verdict == FASTER


@pytest.mark.parametrize("processes", [[], [[]], [[1e-3], []], [[0.0]], [[float("nan")]], [[-1.0]]])
def test_unusable_samples_are_refused(make_measurement: Make, processes: list[list[float]]) -> None:
    good = make_measurement([[1e-3] * 4] * 3)
    with pytest.raises(IncomparableMeasurements, match="samples above 0 s"):
        compare(good, make_measurement(processes))


def test_a_quiet_measurement_has_no_warnings(make_measurement: Make) -> None:
    assert compare(make_measurement([[2e-3] * 9] * 4), make_measurement([[1e-3] * 9] * 4)).warnings == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"load_1min": 3.5}, "load 3.5 on 4 cores"),
        ({"n_cores_usable": 0}, "Use fewer threads"),
        ({"governor": "powersave"}, "Set it to 'performance'"),
    ],
)
def test_the_machine_is_warned_about(make_measurement: Make, change: dict[str, object], words: str) -> None:
    base, compressed = make_measurement([[2e-3] * 9] * 4), make_measurement([[1e-3] * 9] * 4)
    machine = replace(base.machine, **change)
    comparison = compare(replace(base, machine=machine), replace(compressed, machine=machine))
    assert [words in warning for warning in comparison.warnings] == [True]


def test_the_samples_are_warned_about(make_measurement: Make) -> None:
    wild = make_measurement([[1e-5, 2e-5, 4e-5, 8e-5]] * 3)
    text = " ".join(compare(wild, make_measurement([[1e-5] * 4] * 3, session="another")).warnings)
    for words in ("not timed in alternation", "vary by 10 %", "so short", "wider than 10 %"):
        assert words in text
