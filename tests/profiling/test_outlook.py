"""How much more timing: against the interval's own mathematics, and against what more timing then finds."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.core.measurement import Measurement
from compressor.profiling.compare import FASTER, FLOOR, NO_DIFFERENCE, compare
from compressor.profiling.outlook import EQUAL, MOST_PROCESSES, outlook
from compressor.profiling.statistics import Estimate
from tests.profiling.conftest import synthetic

MakePair = Callable[..., tuple[Measurement, Measurement]]


def ahead(ratio: float, half_width: float, n: int = 6) -> tuple[str, int | None, str]:
    """For `n` processes that gave `ratio` with this half width of the interval of its logarithm."""
    sides = synthetic([[1e-3] * 10] * n), synthetic([[1e-3] * 10] * n)
    log = math.log(ratio)
    found = outlook(*sides, Estimate(ratio, math.exp(log - half_width), math.exp(log + half_width)), FLOOR)
    return found.settles, found.more_processes, found.sentence


def quantile(share: float, n: int) -> float:
    """Student's t for n processes, by numerical integration of its density."""
    degrees = n - 1
    x = np.linspace(0, 200, 2_000_001)
    log_c = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - 0.5 * math.log(degrees * math.pi)
    density = np.exp(log_c - (degrees + 1) / 2 * np.log1p(x * x / degrees))
    return float(x[np.searchsorted(np.cumsum(density) * (x[1] - x[0]), share - 0.5)])


def half_width(n: int, deviation: float) -> float:
    """Of the 95 % interval from n processes."""
    return quantile(0.975, n) * deviation / math.sqrt(n)


def reach(n: int, deviation: float) -> float:
    """And what the estimate moves by, four times out of five at most."""
    return (quantile(0.975, n) + quantile(0.8, n)) * deviation / math.sqrt(n)


@pytest.mark.parametrize(("ratio", "deviation"), [(1.05, 0.05), (1.05, 0.1), (1.2, 0.3), (0.95, 0.05)])
def test_the_number_is_the_smallest_that_will_probably_tell(ratio: float, deviation: float) -> None:
    settles, more, _ = ahead(ratio, half_width(6, deviation))
    assert settles == ("faster" if ratio > 1 else "slower")
    assert more is not None and more > 0
    gap = abs(math.log(ratio)) - math.log(1 + FLOOR)
    assert reach(6 + more, deviation) <= gap * 1.001
    assert reach(6 + more - 1, deviation) >= gap * 0.999


def test_twice_the_noise_takes_about_four_times_as_many() -> None:
    once, twice = (ahead(1.05, half_width(6, deviation))[1] for deviation in (0.1, 0.2))
    assert once is not None and twice is not None
    assert (twice + 6) / (once + 6) == pytest.approx(4, rel=0.1)


def test_more_timing_tells_as_it_said(make_pair: MakePair) -> None:
    found = [compare(*make_pair(seed, 1.05, between=0.05)) for seed in range(20)]
    # Those whose ratio came out right: the number is for the ratio that was measured.
    comparison = next(one for one in found if abs(one.ratio - 1.05) < 0.01)
    assert comparison.verdict == NO_DIFFERENCE and comparison.outlook is not None
    assert comparison.outlook.sentence in comparison.warnings
    more = comparison.outlook.more_processes
    assert more is not None and 0 < more < 1000
    later = [compare(*make_pair(seed, comparison.ratio, between=0.05, n_processes=6 + more)) for seed in range(20)]
    # Four out of five on average; the bootstrap's interval errs on the wide side.
    assert sum(one.verdict == FASTER for one in later) >= 12


def test_equal_files_are_called_so(make_pair: MakePair) -> None:
    found = compare(*make_pair(0, 1.0, between=0.002, within=0.002)).outlook
    assert found is not None
    assert (found.settles, found.more_processes) == (EQUAL, 0)
    assert "no amount of timing" in found.sentence and "equally fast" in found.sentence


def test_a_file_against_itself_on_a_noisy_machine(make_pair: MakePair) -> None:
    found = compare(*make_pair(0, 1.0, between=0.05, within=0.05)).outlook
    assert found is not None
    if found.settles == EQUAL:
        assert "no amount of timing" in found.sentence
    assert found.more_processes is None or found.more_processes > 0


def test_no_amount_for_what_lies_on_the_edge() -> None:
    for ratio in (1 + FLOOR, 1 / (1 + FLOOR)):
        _, more, sentence = ahead(ratio, 0.1)
        assert more is None and "no amount" in sentence


def test_no_noise_needs_no_more() -> None:
    assert ahead(1.0, 0.0)[:2] == (EQUAL, 0)


def test_what_takes_hours_is_called_hours() -> None:
    _, more, sentence = ahead(1.0201, 0.02)
    assert more is not None and more > 10_000
    assert "Free the machine instead" not in sentence or " h of sampling" in sentence or " min of sampling" in sentence


def test_a_verdict_needs_no_outlook(make_pair: MakePair) -> None:
    assert compare(*make_pair(0, 2.0)).outlook is None


@given(
    ratio=st.floats(0.2, 5.0),
    width=st.floats(0.0, 2.0),
    n=st.integers(3, 40),
)
def test_it_never_promises_less_than_there_is(ratio: float, width: float, n: int) -> None:
    settles, more, sentence = ahead(ratio, width, n)
    assert more is None or 0 <= more <= 4 * MOST_PROCESSES
    inside = abs(math.log(ratio)) <= math.log(1 + FLOOR)
    assert (settles == EQUAL) == inside
    told = width <= abs(abs(math.log(ratio)) - math.log(1 + FLOOR)) * 0.999
    if told:
        assert more == 0
    assert inside or more == 0 or sentence
