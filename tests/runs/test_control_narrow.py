"""The same architecture, uniformly narrower, with as many multiply-accumulates as the compressed model."""

from dataclasses import replace

import pytest
import torch

from compressor.graph.cost import measure_cost
from compressor.report.schema import SplitRow
from compressor.runs.choose import choose
from compressor.runs.control import load_control
from compressor.runs.control_narrow import make_narrow
from compressor.runs.coverage import cover
from compressor.runs.datasets import Datasets
from compressor.runs.low_rank import split_source
from compressor.runs.record import Whole
from tests.runs.controlled import folder_of, record_of


@pytest.fixture
def narrowed(tmp_path):
    """The record after the plan, with the narrow control."""

    def run(**options):
        record = record_of(control="narrow", **options)
        folder = folder_of(tmp_path, record)
        load_control(record, folder)
        record.coverage = cover(record.source.module, record.source.inputs)
        record.plan, record.budget_met = choose(record, Datasets(), folder)
        make_narrow(record)
        return record

    return run


def macs_of(record):
    return measure_cost(record.control.module, record.source.inputs).macs


def test_a_global_plan_gets_a_uniform_control_with_as_many_macs(narrowed):
    record = narrowed(allocation="global", macs=0.4, round_to=1, seed=3)
    kept = {name: len(group.keep) / group.n_channels for name, group in record.plan.groups.items()}
    assert max(kept.values()) - min(kept.values()) > 0.05  # else the test tells nothing
    first, second = (record.control.module[i].out_channels for i in (0, 2))
    assert first / 64 == pytest.approx(second / 128, abs=0.02)
    assert 0.97 * record.plan.macs[1] <= macs_of(record) <= record.plan.macs[1]
    assert "own widths" not in record.control.description and "%" in record.control.description
    assert record.control.module(record.source.inputs.tensors[0]).shape == (1, 3)


def test_a_uniform_plan_is_its_own_control_and_that_is_said(narrowed):
    record = narrowed(macs=0.5)
    widths = {name: len(group.keep) for name, group in record.plan.groups.items()}
    assert [record.control.module[i].out_channels for i in (0, 2)] == list(widths.values())
    assert record.control.description.endswith("these are the compressed model's own widths")


def test_where_nothing_was_removed_there_is_none(narrowed):
    record = narrowed(macs=0.5)
    record.control = replace(record.control, module=None)
    record.plan = replace(record.plan, macs=(record.plan.macs[0], record.plan.macs[0]))
    make_narrow(record)
    assert record.control.module is None and "nothing was removed" in record.control.unmade


def test_the_original_is_left_alone(narrowed):
    record = narrowed(macs=0.3)
    assert record.source.module[0].weight.shape == (64, 3, 3, 3)
    assert torch.isfinite(record.source.module(record.source.inputs.tensors[0])).all()


def test_other_controls_are_left_alone():
    record = record_of(control="timm:resnet26")
    make_narrow(record)
    assert record.control is None


def test_it_is_of_the_architecture_whose_layers_were_split(tmp_path):
    record = record_of(control="narrow", decompose="channel", macs=0.1, round_to=1)
    folder = folder_of(tmp_path, record)
    load_control(record, folder)
    whole = record.source
    record.whole = Whole(whole, cover(whole.module, whole.inputs))
    record.source = split_source(whole, "channel", [SplitRow("2", (8,), 2, 1, 0.5, None, True, "")])
    record.coverage = cover(record.source.module, whole.inputs)
    record.plan, record.budget_met = choose(record, Datasets(), folder)
    make_narrow(record)
    assert type(record.control.module[2]) is type(whole.module[2])
    assert 0.8 * record.plan.macs[1] <= macs_of(record) <= record.plan.macs[1]
