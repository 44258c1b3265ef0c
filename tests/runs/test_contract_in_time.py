"""Budgets in time by plans in time: tables that promise, a runtime that has the last word."""

from pathlib import Path

import numpy as np
import pytest

from compressor.latency.model import Fitted
from compressor.runs import bench, ways
from compressor.runs.tables import TimePlans, frontier_of
from tests.runs.test_contract import chosen, linear, runtime, taken

__all__ = ["chosen", "runtime"]  # fixtures


def parameters(n_keep):
    """Of `test_contract.wide` at these widths."""
    a, b = n_keep["0"], n_keep["2"]
    return 28 * a + 9 * a * b + b + 3 * b + 3


class Table:
    """Promises `power` of the share of the parameters that stays: 1 is the truth."""

    def __init__(self, power):
        self.power, self.fitted = power, Fitted(20, 3, 0.0, 0.01)

    def whole(self, n_keep):
        share = parameters({"0": 64, "2": 128, **n_keep}) / parameters({"0": 64, "2": 128})
        return 1e-3 * share**self.power

    def alternatives(self, n_keep, group, counts):
        return np.array([self.whole({**n_keep, group: int(count)}) for count in counts])


class File:
    def write(self, path, quantities):
        path.write_text(str(parameters(quantities)))
        return path


class Extents:
    def at(self, n_keep):
        return n_keep


@pytest.fixture
def tables(monkeypatch):
    """Replaces measuring tables."""

    def install(power):
        def plans(record, planner, bench, folder, worth):
            counts = planner.counts(4)
            models = {name: Table(power) for name in bench.targets}
            frontier = frontier_of(models, counts, worth())
            return TimePlans(File(), Extents(), models, counts, frontier, bench.original_file("onnx").path)

        monkeypatch.setattr(ways, "time_plans", plans)

    return install


def holds_together(record):
    """Every row tells of the model that it names."""
    for row in record.speed_search.rows:
        assert row.value > 0 and row.predicted > 0
    (row,) = taken(record)
    assert record.plan.macs[1] / record.plan.macs[0] == pytest.approx(row.macs_share, rel=1e-6)
    assert record.plan.params[0] / record.plan.params[1] == pytest.approx(row.value, rel=0.02)
    return row


def test_tables_that_are_right_need_one_model(runtime, chosen, tables):
    timed = runtime(onnxruntime=linear)
    tables(1.0)
    record = chosen(speedup=2.0, round_to=4)
    row = holds_together(record)
    assert record.budget_met and row.interval[0] >= 2.0 and row.value < 2.1
    assert row.predicted == pytest.approx(row.value, rel=0.02) and len(record.speed_search.rows) == 1
    (table,) = record.speed_search.tables
    assert (table.target, table.n_models) == ("onnxruntime:cpu", 20)
    assert len(timed) == 1 and record.notes == []


def test_a_latency_that_is_asked_for(runtime, chosen, tables):
    runtime(onnxruntime=linear)
    tables(1.0)
    record = chosen(latency=0.5e-3, round_to=4)
    (row,) = taken(record)
    assert (
        record.budget_met and 0.4e-3 < row.interval[1] <= 0.5e-3 and row.predicted == pytest.approx(row.value, rel=0.02)
    )


@pytest.mark.parametrize("power", [0.6, 1.6])
def test_tables_that_are_wrong_are_put_right_by_measuring(runtime, chosen, tables, power):
    runtime(onnxruntime=linear)
    tables(power)
    record = chosen(speedup=2.0, round_to=4)
    row = holds_together(record)
    assert record.budget_met and row.interval[0] >= 2.0 and row.value < 2.2
    assert 1 < len(record.speed_search.rows) <= 8


def test_what_was_timed_belongs_to_its_widths(runtime, chosen, tables, monkeypatch):
    """Between an interruption and going on, tables may have grown, and promise otherwise."""
    runtime(onnxruntime=linear)
    tables(1.6)
    measure, calls = bench.measure, []

    def interrupted(*args, **options):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(*args, **options)

    monkeypatch.setattr(bench, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        chosen(speedup=2.0, round_to=4)
    assert list(Path(chosen.folder).rglob("timed-*.json"))
    monkeypatch.setattr(bench, "measure", measure)
    tables(1.0)
    record = chosen(speedup=2.0, round_to=4)
    assert record.budget_met and holds_together(record).interval[0] >= 2.0
    assert all(row.predicted == pytest.approx(row.value, rel=0.02) for row in record.speed_search.rows)


def test_the_slowest_target_decides(runtime, chosen, tables):
    runtime(onnxruntime=linear, openvino=lambda n: 2e-4 + linear(n))
    tables(1.0)
    record = chosen(export=("onnx", "openvino"), on=("onnxruntime:cpu", "openvino:cpu"), speedup=1.5, round_to=4)
    fast, slow = taken(record)
    assert record.budget_met and slow.holds and fast.value > slow.value >= 1.5
    assert fast.predicted == pytest.approx(fast.value, rel=0.02) and slow.predicted > slow.value


def test_what_cannot_be_reached(runtime, chosen, tables):
    runtime(onnxruntime=lambda n: 1e-3 + linear(n))
    tables(1.0)
    record = chosen(speedup=5.0, round_to=4)
    assert not record.budget_met and "with the narrowest" in record.notes[-1]
