"""A plan is proven before anything is cut; one that does not hold is replaced, and said so."""

import pytest
import torch
from torch import nn

from compressor.core.errors import ContractViolation, NothingPrunable
from compressor.core.options import RunOptions
from compressor.core.progress import SilentProgress
from compressor.runs import prove as proving
from compressor.runs.choose import choose
from compressor.runs.coverage import cover
from compressor.runs.datasets import Datasets
from compressor.runs.folder import RunFolder
from compressor.runs.prove import prove
from compressor.runs.record import Record, Source
from exporters.signature import ExampleInputs
from tests.networks import images, seeded


class Particular(nn.Module):
    """Does not run with some widths: code that trials of other widths do not find out."""

    def __init__(self, *forbidden):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 20, 1), nn.Conv2d(20, 16, 1), nn.Linear(16, 4)
        self.forbidden = list(map(str, forbidden))

    def forward(self, x):
        for layer in (self.first, self.second):
            x = torch.relu(layer(x))
            if str(x.shape[1]) in self.forbidden:
                raise RuntimeError(f"{x.shape[1]} channels are not allowed")
        return self.head(x.mean((2, 3)))


@pytest.fixture
def proven(tmp_path):
    def run(*forbidden):
        model = seeded(lambda: Particular(*forbidden))
        inputs = ExampleInputs.of(images(), model)
        record = Record(Source(model, inputs, "net.pt", "", "aa"), RunOptions(ratio=0.5, round_to=2), SilentProgress())
        record.coverage = cover(model, inputs)
        assert {group.name for group in record.coverage.groups} == {"first", "second"}
        folder = RunFolder.claim(tmp_path / "run", RunOptions(), "aa")
        record.plan, record.budget_met = choose(record, Datasets(), folder)
        prove(record, Datasets(), folder)
        return record

    return run


def widths(record):
    return {name: len(group.keep) for name, group in record.plan.groups.items()}


def test_a_plan_that_holds_stays(proven):
    record = proven()
    assert record.difference.equal and record.difference.effect_rel > 1e-3
    assert widths(record) == {"first": 10, "second": 8}
    assert not record.notes


def test_a_plan_that_does_not_run_is_replaced(proven):
    record = proven(10)
    assert record.difference.equal
    assert [group.name for group in record.coverage.groups] == ["second"]
    assert "10 channels are not allowed" in next(g.reason for g in record.coverage.blocked if g.name == "first")
    assert record.coverage.prunable_macs_share < 1
    assert any("made another that leaves first whole" in note for note in record.notes)
    assert widths(record) == {"second": 8}


def test_where_no_group_is_left(proven):
    with pytest.raises(NothingPrunable, match=r"first: after the cut, .* fails: 10 channels are not allowed"):
        proven(10, 8)


def test_a_wrong_cut_is_never_handed_over(proven, monkeypatch):
    monkeypatch.setattr(proving, "try_groups", lambda *given, **more: ([], []))  # no culprit can be named
    with pytest.raises(ContractViolation, match=r"\(runs/test_prove.py:\d+\) fails: 10 channels .* Nothing was"):
        proven(10)
