"""The search, on speeds that are functions of the share."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.planning.seek import CLOSE, MAX_TRIALS, Trial, best, seek


def searched(speed_at, asked, narrowest=0.02, half_width=0.01, step=0.0):
    """Trials of a model whose speed-up is `speed_at(share)`; widths come in steps."""
    seen = []

    def measure(share):
        assert narrowest <= share < 1
        seen.append(share)
        real = max(narrowest, math.floor(share / step) * step) if step else share
        speed = speed_at(real) / asked
        return Trial(real, speed, speed * (1 - half_width))

    return seek(measure, 1 / asked, narrowest), seen


def test_worked_by_hand():
    # Twice as fast at half: 1/share. The first trial, at 1/2, is exactly 2x, whose interval lies below; the slope is 1,
    # so the next is at 0.5 / 1.03, 2.06x, whose interval (2.04 at least) lies above, and which is near enough.
    trials, seen = searched(lambda share: 1 / share, asked=2.0)
    assert seen == pytest.approx([0.5, 0.475])  # not nearer than a twentieth below what was too slow
    assert trials[1].holds and best(trials) == trials[1] and trials[1].speed == pytest.approx(1 / 0.475 / 2)


@settings(deadline=None)
@given(
    exponent=st.floats(0.3, 1.3),
    overhead=st.floats(0.0, 0.3),
    asked=st.floats(1.1, 4.0),
    half_width=st.floats(0.0, 0.02),
)
def test_what_can_be_reached_is_reached_closely(exponent, overhead, asked, half_width):
    def speed_at(share):
        return 1 / (overhead + (1 - overhead) * share**exponent)

    trials, _ = searched(speed_at, asked, narrowest=0.01, half_width=half_width)
    found = best(trials)
    assert len(trials) <= MAX_TRIALS
    if speed_at(0.01) * (1 - half_width) < asked:
        assert not found.holds and trials[-1].share == pytest.approx(0.01)
    elif speed_at(0.01) > 1.1 * asked:
        assert found.holds and found.speed <= CLOSE + 0.02


def test_steps_end_the_search():
    trials, seen = searched(lambda share: 1 / share, asked=2.0, step=0.2, narrowest=0.2)
    assert [round(t.share, 3) for t in trials] == [0.4] and len(seen) <= MAX_TRIALS
    assert best(trials).holds


def test_the_narrowest_is_tried_before_giving_up():
    trials, _ = searched(lambda share: 1.3, asked=2.0, narrowest=0.1)
    assert trials[-1].share == pytest.approx(0.1) and not best(trials).holds


def test_the_narrowest_is_tried_where_the_way_there_is_long():
    """A third of the time does not shrink, so each step promises to be the last."""
    trials, _ = searched(lambda share: 1 / (0.3 + 0.7 * share), asked=3.375, narrowest=0.01)
    assert len(trials) < MAX_TRIALS and trials[-1].share == pytest.approx(0.01) and not best(trials).holds


def test_the_best_is_the_widest_that_holds_or_else_the_fastest():
    slow, close, fast = Trial(0.6, 0.9, 0.89), Trial(0.5, 1.04, 1.02), Trial(0.3, 1.6, 1.5)
    unsure = Trial(0.52, 1.01, 0.99)
    assert best([slow, fast, close, unsure]) == close
    assert best([slow, unsure]) == unsure
