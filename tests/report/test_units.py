from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.report import units


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (999_499, "999 k"),
        (999_500, "1.00 M"),
        (4.1e9, "4.10 G"),
        (2e15, "2000 T"),
    ],
)
def test_counts(value: float, shown: str) -> None:
    assert units.count(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1023, "1023 B"), (1024, "1.00 KiB"), (1_023_999, "0.977 MiB"), (97_500_000, "93.0 MiB"), (5 * 2**40, "5120 GiB")],
)
def test_sizes(value: float, shown: str) -> None:
    assert units.size(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.9996, "1.00 ms"), (9.996, "10.0 ms"), (99.96, "100 ms"), (1234.5, "1234 ms"), (0, "0 ms")]
)
def test_milliseconds_keep_three_digits(value: float, shown: str) -> None:
    assert units.milliseconds(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.004, "< 0.01 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (3599.7, "1 h 00 min"), (0, "0.00 s")],
)
def test_seconds(value: float, shown: str) -> None:
    assert units.seconds(value) == shown


@given(st.floats(min_value=1e-9, max_value=1 - 1e-9))
def test_a_share_inside_is_never_printed_as_none_or_all(share: float) -> None:
    assert units.percent(share) not in ("0 %", "0.0 %", "100 %", "100.0 %")


@given(st.floats(min_value=0.01, max_value=9.0).filter(lambda value: abs(value - 1) > 1e-3))
def test_a_ratio_that_is_not_1_is_not_printed_as_1(value: float) -> None:
    assert float(units.ratios(value)[0]) != 1


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_no_number_breaks_a_table(value: float) -> None:
    shown = [units.milliseconds(value), units.error(value), units.points(value), *units.ratios(value)]
    assert all(shown)
    if not math.isfinite(value):
        assert all("inf" in text or "nan" in text for text in shown)


@given(st.text(), st.integers(min_value=3, max_value=60))
def test_the_middle_is_left_out(text: str, width: int) -> None:
    short = units.middle(text, width)
    assert len(short) == min(len(text), width)
    if len(text) > width:
        assert short[0] == text[0] and short[-1] == text[-1]


@given(st.text(st.characters(codec=None)))
def test_printable_text_can_be_written_anywhere(text: str) -> None:
    shown = units.printable(text)
    assert len(shown) == len(text)
    assert "\x1b" not in shown and "\u202e" not in shown and "\n" not in shown
    shown.encode("utf-8")  # a lone surrogate would raise


def test_the_command_keeps_its_line_breaks() -> None:
    assert units.printable("a \\\n\tb\x07", keep="\n\t") == "a \\\n\tb\ufffd"
