"""How long work tells that it is alive, in a terminal and elsewhere."""

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from compressor.cli import progress
from compressor.cli.progress import _Lines, _TimeLeft


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def lines(clock, total, steps):
    """What is printed where each step takes the seconds that are given."""
    out = io.StringIO()
    told = _Lines(Console(file=out, width=200), "Fine-tuning", total)
    for seconds in steps:
        clock[0] += seconds
        told.advance(1, "loss 0.5000")
    told.finish()
    return out.getvalue().splitlines()


def test_lines_tell_the_share_and_the_time_left(clock):
    assert lines(clock, 4, [11, 11, 1, 1]) == [
        "Fine-tuning ...",
        "Fine-tuning: 25%, about 33 s left, loss 0.5000",
        "Fine-tuning: 50%, about 22 s left, loss 0.5000",
        "Fine-tuning: done in 24 s",
    ]
    assert "about 55 min left" in lines(clock, 100, [33.3])[1]


def test_lines_of_work_without_a_known_end(clock):
    assert lines(clock, None, [11])[1] == "Fine-tuning: loss 0.5000"


def test_short_work_is_one_line(clock):
    assert lines(clock, 2, [0.5, 0.5]) == ["Fine-tuning ..."]


def test_a_bar_tells_the_time_left_where_it_can_be_known():
    now = [0.0]
    bars = Progress(get_time=lambda: now[0])
    column = _TimeLeft(compact=True)
    known, unknown = bars.add_task("a", total=10), bars.add_task("b", total=None)
    assert [column.render(task).plain for task in bars.tasks] == ["", ""]
    for _ in range(4):
        now[0] += 30.0
        for task in (known, unknown):
            bars.advance(task)
    assert [column(task).plain for task in bars.tasks] == ["03:00 left", ""]
