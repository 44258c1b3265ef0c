"""From a share to widths, by measured time and by multiply-accumulates."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from compressor.core.measurement import Measurement
from compressor.latency.model import Fitted
from compressor.planning.seek import AIM
from compressor.profiling.machine import machine_facts
from compressor.report.schema import TableRow
from compressor.runs import ways as module
from compressor.runs.datasets import Datasets
from compressor.runs.sensitivity import Opinions
from compressor.runs.tables import TimePlans, frontier_of
from compressor.runs.ways import ByMacs, ByTime, ways_to_widths
from tests.runs.planned import claimed, planner_of, recorded

COUNTS = {"stem": list(range(8, 49, 8)), "conv": list(range(8, 65, 8))}


class Table:
    """A target that takes a constant and so much for each channel."""

    def __init__(self, constant, stem, conv):
        self.constant, self.each = constant, {"stem": stem, "conv": conv}
        self.fitted = Fitted(12, 3, 0.05, 0.02)

    def whole(self, n_keep):
        counts = {"stem": 48, "conv": 64, **n_keep}
        return self.constant + sum(each * counts[name] for name, each in self.each.items())

    def alternatives(self, n_keep, group, counts):
        return self.each[group] * np.asarray(counts, dtype=float)


class File:
    """Writes the widths that it is given."""

    def write(self, path, quantities):
        path.write_text(f"{quantities['group stem']} {quantities['group conv']}")
        return path


class Extents:
    def at(self, n_keep):
        return {f"group {name}": count for name, count in n_keep.items()}


@pytest.fixture(scope="module")
def record():
    return recorded(round_to=8)


@pytest.fixture
def planner(record):
    return planner_of(record)


@pytest.fixture
def plans(planner, tmp_path):
    models = {"one:cpu": Table(8.0, 1.0, 1.0), "other:cpu": Table(60.0, 0.0, 2.0)}
    return TimePlans(
        File(), Extents(), models, COUNTS, frontier_of(models, COUNTS, planner.worth()), Path("whole.onnx")
    )


@pytest.fixture
def by_time(planner, plans, record, tmp_path):
    folder = claimed(record, tmp_path / "run")
    return ByTime(planner, plans, folder, Opinions(record, planner, Datasets(), folder))


class Torn:
    """Would keep the stem, or the convolution; a plan's damage is what it takes of the other one."""

    def __init__(self, planner, wanted):
        self.planner, self.wanted, self.asked = planner, wanted, []

    def others(self):
        found = []
        for kept in ("stem", "conv"):
            worth = {name: np.arange(len(each)) * 1e-3 for name, each in self.planner.worth().items()}
            worth[kept] *= 1e6
            found.append(worth)
        return found

    def damage(self, n_keep):
        self.asked.append(tuple(n_keep.values()))
        return -float(n_keep[self.wanted])


@pytest.mark.parametrize("wanted", ["stem", "conv"])
def test_of_different_plans_the_one_that_does_least_damage(planner, plans, record, tmp_path, wanted):
    opinions = Torn(planner, wanted)
    ways = ByTime(planner, plans, claimed(record, tmp_path / "run"), opinions)
    own, widths = ways.widths(0.7)
    offered = [frontier.best(0.7) for frontier in ways._frontiers]
    offered.append([choice for choice in ways._together if choice.cost <= 0.7][-1])  # all groups fall alike
    assert own <= 0.7 and widths.n_keep[wanted] == max(choice.n_keep[wanted] for choice in offered)
    assert len(set(opinions.asked)) == len(opinions.asked) > 1
    asked = len(opinions.asked)
    assert ways.widths(0.7) == (own, widths) and len(opinions.asked) == asked  # tried once each
    assert ways.widths(1.0)[1].n_keep == {"stem": 48, "conv": 64} and len(opinions.asked) == asked  # all agree


def measurement(seconds):
    return Measurement("one:cpu", Path("a"), "aa", 1, 1, ((seconds,) * 6,) * 4, (), machine_facts(), burst_size=2)


def test_widths_within_a_share_of_the_time(by_time, plans):
    shares = np.linspace(by_time.narrowest, 1, 9)
    found = [by_time.widths(share) for share in shares]
    for asked, (own, widths) in zip(shares, found, strict=True):
        assert own <= asked and widths.met and not widths.shortfall
        assert own == pytest.approx(max(m.whole(widths.n_keep) / m.whole({}) for m in plans.models.values()))
        assert all(widths.n_keep[name] in counts for name, counts in COUNTS.items())
    assert found[-1][0] == 1.0 and found[-1][1].n_keep == {"stem": 48, "conv": 64} and found[-1][1].remaining == 1.0
    assert all(one.remaining <= more.remaining for (_, one), (_, more) in pairwise(found))


def test_the_narrowest_where_nothing_is_fast_enough(by_time):
    own, widths = by_time.widths(by_time.narrowest / 2)
    assert own == by_time.narrowest and 0 < widths.remaining < 0.2
    assert widths.n_keep == {"stem": 32, "conv": 8}  # with more of the stem the first target would be the slower one
    assert by_time.narrowest == pytest.approx(76 / 188)  # the slower target's


def test_tables_are_believed_at_once(by_time):
    assert by_time.first(0.5) == pytest.approx(0.5 / AIM) and by_time.name == "in-time"


def test_what_the_report_says_of_tables(by_time):
    assert by_time.tables == (TableRow("one:cpu", 12, 0.02, 0.05), TableRow("other:cpu", 12, 0.02, 0.05))


def test_files_for_as_long_as_they_are_needed(by_time, tmp_path):
    _, widths = by_time.widths(0.6)
    with by_time.files(widths) as files:
        assert files.keys() == {"one:cpu", "other:cpu"}
        (pair,) = set(files.values())
        assert pair[0] == Path("whole.onnx")
        assert pair[1].read_text() == f"{widths.n_keep['stem']} {widths.n_keep['conv']}"
    assert not pair[1].exists()
    with pytest.raises(KeyboardInterrupt), by_time.files(widths) as files:
        raise KeyboardInterrupt
    assert not pair[1].exists()


def test_predictions_are_relative_to_the_original_as_timed_now(by_time):
    _, widths = by_time.widths(0.5)
    ratio = Table(8.0, 1.0, 1.0).whole({}) / Table(8.0, 1.0, 1.0).whole(widths.n_keep)
    assert by_time.predicted("one:cpu", widths) == pytest.approx(ratio)


def test_by_multiply_accumulates(record, planner):
    ways = ByMacs(record, planner, None)
    assert ways.first(0.5) == 0.5 and ways.tables == () and ways.name == "by-macs"
    own, widths = ways.widths(0.5)
    assert own == widths.remaining <= 0.5 and all(count % 8 == 0 for count in widths.n_keep.values())
    own, widths = ways.widths(1e-6)
    assert own == ways.narrowest and widths.n_keep == {"stem": 8, "conv": 8}
    assert ways.predicted("one:cpu", widths) is None


def test_which_way(monkeypatch, record, planner, plans, tmp_path):
    folder = claimed(record, tmp_path / "run")
    opinions = Opinions(record, planner, Datasets(), folder)
    for found, kind in ((plans, ByTime), (None, ByMacs)):
        monkeypatch.setattr(module, "time_plans", lambda *args, found=found: found)
        assert isinstance(ways_to_widths(record, planner, None, folder, opinions), kind)
