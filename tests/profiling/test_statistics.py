from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.core.measurement import MachineFacts, Measurement
from compressor.profiling.statistics import in_one_session, latency_stats, ratio_of, unsteadiness

Make = Callable[..., Measurement]
MakePair = Callable[..., tuple[Measurement, Measurement]]


def test_statistics_by_hand() -> None:
    stats = latency_stats([0.001 * i for i in range(1, 102)])  # 1 to 101 ms
    assert (stats.n, stats.median_ms, stats.mean_ms) == (101, pytest.approx(51), pytest.approx(51))
    assert stats.p90_ms == pytest.approx(91)
    assert stats.p99_ms == pytest.approx(100)
    assert stats.std_ms == pytest.approx(np.sqrt((101**2 - 1) / 12))


@given(st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=50))
def test_statistics_are_ordered(samples: list[float]) -> None:
    stats = latency_stats(samples)
    low, high = min(samples) * 1e3 * (1 - 1e-9), max(samples) * 1e3 * (1 + 1e-9)
    assert low <= stats.median_ms <= stats.p90_ms <= stats.p99_ms <= high


def test_the_ratio_by_hand(make_measurement: Make) -> None:
    # Two processes, two bursts of three each. Bursts' medians: base 2 4 | 8 512, compressed 1 1 | 1 1. The rounds are
    # therefore 1 2 3 9 in powers of 2, and without the quarter at either end: (2 + 3) / 2.
    base = make_measurement([[2, 2, 9, 4, 4, 4], [8, 8, 8, 512, 1, 600]], burst_size=3)
    compressed = make_measurement([[1, 1, 1, 1, 1, 7], [1, 1, 1, 1, 1, 1]], burst_size=3)
    assert ratio_of(base, compressed).value == pytest.approx(2**2.5)


def test_drift_that_hits_both_cancels(make_measurement: Make) -> None:
    drift = np.linspace(1, 3, 8)
    base = make_measurement([(2e-3 * drift).tolist()] * 4)
    compressed = make_measurement([(1e-3 * drift).tolist()] * 4)
    ratio = ratio_of(base, compressed)
    assert (ratio.value, ratio.low, ratio.high) == (pytest.approx(2), pytest.approx(2), pytest.approx(2))


def test_the_same_samples_give_the_same_interval(make_pair: MakePair) -> None:
    assert ratio_of(*make_pair(3, 1.5)) == ratio_of(*make_pair(3, 1.5))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 5.0))
def test_swapping_the_files_inverts_the_ratio(seed: int, true_ratio: float) -> None:
    random = np.random.default_rng(seed)
    machine = MachineFacts("c", 1, 1, 1, "s", "3.12")
    sides = [
        Measurement(
            "t", Path("f"), "", 1, 1, tuple(map(tuple, scale * random.uniform(1, 2, (4, 6)))), (), machine, session="s"
        )
        for scale in (true_ratio, 1.0)
    ]
    forward, backward = ratio_of(sides[0], sides[1]), ratio_of(sides[1], sides[0])
    assert forward.value == pytest.approx(1 / backward.value)
    assert forward.low <= forward.value <= forward.high


@pytest.mark.parametrize(
    ("n_processes", "between", "within"), [(4, 0.02, 0.02), (6, 0.02, 0.02), (6, 0.0, 0.03), (6, 0.05, 0.0)]
)
def test_the_interval_holds_the_truth_as_often_as_it_says(
    make_pair: MakePair, n_processes: int, between: float, within: float
) -> None:
    # 95 % is promised, and the share found in 200 draws has a standard deviation of 1.5 points.
    held = 0
    for seed in range(200):
        ratio = ratio_of(*make_pair(seed, 1.3, n_processes=n_processes, between=between, within=within))
        held += ratio.low <= 1.3 <= ratio.high
    assert held >= 186


def test_without_a_common_session_processes_are_not_paired(make_pair: MakePair, make_measurement: Make) -> None:
    base, compressed = make_pair(0, 2.0)
    apart = make_measurement([list(p) for p in compressed.processes], burst_size=5, session="another")
    assert in_one_session(base, compressed)
    assert not in_one_session(base, apart)
    paired, unpaired = ratio_of(base, compressed), ratio_of(base, apart)
    assert unpaired.value == pytest.approx(2.0, rel=0.1)
    # The drift that both shared no longer cancels.
    assert unpaired.high - unpaired.low > paired.high - paired.low


def test_one_late_sample_is_no_unsteadiness(make_measurement: Make) -> None:
    calm = [1e-3] * 50
    assert unsteadiness(make_measurement([[*calm[:-1], 1.0]], burst_size=10)) == 0.0
    assert unsteadiness(make_measurement([calm + [2e-3] * 50], burst_size=10)) == pytest.approx(1 / 3)
