"""Low rank alone and pruning alone, beside both: a real runtime, real files, and races and speeds of chance."""

import pytest
import torch

from compressor.data.opening import open_dataset
from compressor.pipeline import compress
from compressor.profiling.statistics import Estimate
from compressor.runs import alternatives, low_rank
from tests.runs import digits


@pytest.fixture
def images(tmp_path):
    digits.write(tmp_path)
    return open_dataset(tmp_path / "images.npz")


@pytest.fixture
def compared(images, monkeypatch):
    """A run's report; every layer wins its race, and speeds are shares of the multiply-accumulates."""
    monkeypatch.setattr(low_rank, "race", lambda pairs, *a, **o: {p.signature: Estimate(2.0, 1.9, 2.1) for p in pairs})

    def run(**options):
        torch.manual_seed(0)
        return compress(
            digits.network(), torch.zeros(2, 1, 8, 8), data=images, val=images, decompose="channel",
            decompose_options=["ratio=0.7"], macs=0.5, round_to=1, alternatives=True, on=["onnxruntime:cpu"],
            export=["onnx"], **options,
        ).report()  # fmt: skip

    return run


def test_all_three_are_timed_in_turns(compared, monkeypatch):
    """The models are too small for either to be much faster: the goal is what any of them reaches."""
    monkeypatch.setattr(alternatives, "goal_of", lambda timing: 1.0 + 1e-6)
    monkeypatch.setattr(alternatives, "ratio_of", lambda base, other: Estimate(1.02, 1.01, 1.03))
    monkeypatch.setattr(alternatives, "choose", lambda record, data, room: (low_cost_plan(record), True))
    found = compared().alternatives
    assert found.target == "onnxruntime:cpu" and found.n_images == 90
    assert [row.name for row in found.rows] == ["both", "low rank", "pruning"]
    assert all(not row.unavailable and row.ratio == 1.02 and row.top1_percent is not None for row in found.rows)
    both, thin, pruned = found.rows
    assert both.macs_share <= 0.5 * 1.01 and 0 < thin.macs_share < 1 and pruned.macs_share == pytest.approx(1.0)
    assert found.finding


def low_cost_plan(record):
    return alternatives.plan_without_cuts(record)


def test_what_does_not_become_as_fast_is_said(compared, monkeypatch):
    monkeypatch.setattr(alternatives, "goal_of", lambda timing: 1e6)
    report = compared()
    both, thin, pruned = report.alternatives.rows
    assert not both.unavailable and both.ratio > 0
    assert thin.unavailable.startswith("It does not become as fast on onnxruntime:cpu: ")
    assert pruned.unavailable.startswith("It does not become as fast on onnxruntime:cpu: ")
    assert report.alternatives.finding == "Neither low rank alone nor pruning alone becomes as fast."


def test_a_model_that_is_no_faster_has_no_alternatives(compared, monkeypatch):
    monkeypatch.setattr(alternatives, "goal_of", lambda timing: 0.9)
    report = compared()
    assert report.alternatives is None and any("no faster than the original" in note for note in report.notes)
