import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.core.errors import InvalidOption
from compressor.core.quantities import factor, points, seconds, share, whole_numbers


@pytest.mark.parametrize("value", ["0", "1", "100%", "0%", "-5%", "half", "nan", "", 2, True, None])
def test_what_is_no_share(value):
    with pytest.raises(InvalidOption, match=r"--macs.*above 0 and below 1"):
        share(value, "--macs")


@pytest.mark.parametrize("value", ["1", "1x", "0.5x", "x", "-2", "inf", "nan", "2y", None, [2]])
def test_what_is_no_factor(value):
    with pytest.raises(InvalidOption, match=r"--speedup.*a factor above 1, such as 2x"):
        factor(value, "--speedup")


@pytest.mark.parametrize("value", ["0", "0ms", "-5ms", "5 min", "ms", "inf", "nan", "", None, [2]])
def test_what_is_no_time(value):
    with pytest.raises(InvalidOption, match=r"--latency.*a time above 0, such as 5ms"):
        seconds(value, "--latency")


@pytest.mark.parametrize("value", ["little", "", "%", None, [1]])
def test_what_are_no_points(value):
    with pytest.raises(InvalidOption, match=r"--max-drop.*such as 1 or 1%"):
        points(value, "--max-drop")


@given(st.floats(0.01, 99.99))
def test_percent_and_share_are_the_same(percent):
    assert share(f"{percent}%", "--macs") == pytest.approx(percent / 100)


@given(st.floats(1e-6, 1e3))
def test_units_of_time(value):
    assert seconds(f"{value} ms", "--latency") == pytest.approx(seconds(f"{value * 1000}us", "--latency"))
    assert seconds(f"{value}s", "--latency") == seconds(value, "--latency") == value


@pytest.mark.parametrize("text", ["", ",", "1,", "1,,2", "a", "1.5", "1;2", "1-4", "0x1", "9" * 20])
def test_what_are_no_whole_numbers(text):
    with pytest.raises(InvalidOption, match=r"`--threads` must be whole numbers separated by commas, such as 1,8"):
        whole_numbers(text, "--threads")


@pytest.mark.parametrize("text", ["1,1", "1, 2 ,1", "1,01"])
def test_numbers_are_named_once(text):
    with pytest.raises(InvalidOption, match=r"`--threads` must be different numbers.*Name each once"):
        whole_numbers(text, "--threads")
