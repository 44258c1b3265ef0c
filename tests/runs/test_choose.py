"""Methods with their options, and what they are given to look at."""

from types import SimpleNamespace

import pytest
import torch

from compressor.core.errors import DataError, InvalidOption, UnknownPlugin
from compressor.core.options import RunOptions
from compressor.core.progress import SilentProgress
from compressor.core.quantities import MEASURED_STEPS
from compressor.data.batches import from_batches
from compressor.runs.choose import SCORING_BATCH_SIZE, SCORING_BATCHES, _Batches, choose, make_method
from compressor.runs.coverage import cover
from compressor.runs.datasets import Datasets
from compressor.runs.folder import RunFolder
from compressor.runs.record import Record, Source
from exporters.signature import ExampleInputs
from tests.networks import images, seeded
from tests.runs import digits


@pytest.fixture
def chosen(tmp_path):
    def run(data=None, **options):
        model = seeded(digits.network)
        source = Source(model, ExampleInputs.of(images(channels=1), model), "net.pt", "", "aa", {"mean": [0.5]})
        record = Record(source, RunOptions(**options), SilentProgress())
        record.coverage = cover(model, source.inputs)
        folder = RunFolder.claim(tmp_path / "run", RunOptions(), "aa")
        return choose(record, data or Datasets(), folder)

    return run


def test_the_plan_says_how_it_was_made(chosen):
    plan, met = chosen(method="random", ratio=0.5, seed=4, round_to=2)
    assert met and plan.method == "random" and plan.budget == {"ratio": 0.5} and plan.seed == 4 and plan.round_to == 2
    assert plan.allocation == "local" and plan.source_sha256 == "aa" and plan.preprocessing == {"mean": [0.5]}
    assert set(plan.versions) == {"compressor", "torch", "numpy"}
    assert plan.groups["0"].n_channels == 8 and len(plan.groups["0"].keep) == 4
    assert plan.params[1] < plan.params[0] and plan.macs[1] < plan.macs[0]


def test_it_is_read_back(chosen):
    assert chosen(method="random", ratio=0.5) == chosen(method="l1", ratio=0.9)


def test_data_for_methods_that_need_it(chosen):
    with pytest.raises(DataError, match=r"method 'taylor' needs data.*--method l1"):
        chosen(method="taylor")
    pixels = torch.randn(20, 1, 8, 8)
    with pytest.raises(DataError, match="needs labels"):
        chosen(Datasets(from_batches(pixels)), method="taylor")
    plan, _ = chosen(Datasets(from_batches([(pixels, torch.arange(20) % 3)])), method="taylor")
    assert plan.method == "taylor"


def test_the_same_batches_each_time():
    data = from_batches([(torch.arange(2000.0).view(-1, 1), torch.arange(2000) % 3)])
    batches = _Batches(data, seed=1)
    first, second = list(batches), list(batches)
    assert len(first) == SCORING_BATCHES and all(len(labels) == SCORING_BATCH_SIZE for _, labels in first)
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(first, second, strict=True))
    assert not torch.equal(first[0][0], next(iter(_Batches(data, seed=2)))[0])
    assert all(torch.equal(x.flatten().long() % 3, labels) for x, labels in first)


def test_options_of_methods():
    assert make_method("l1", ()) == make_method("l1", [])
    with pytest.raises(InvalidOption, match="--method-option"):
        make_method("l1", ["strength=3"])
    with pytest.raises(UnknownPlugin, match="Did you mean 'reprune'"):
        make_method("reprun", ())


def test_widths_that_the_target_likes(chosen, monkeypatch):
    asked = []

    def plans(record, planner, bench, folder, worth):
        asked.append(bench.targets)
        return SimpleNamespace(allowed={"0": [3, 8]})

    monkeypatch.setattr("compressor.runs.choose.time_plans", plans)
    plan, met = chosen(method="l1", macs=0.6, round_to=MEASURED_STEPS, on=("onnxruntime:cpu",))
    assert met and len(plan.groups["0"].keep) == 3 and asked == [("onnxruntime:cpu",)]


def test_without_tables_widths_are_by_size(chosen, monkeypatch):
    monkeypatch.setattr("compressor.runs.choose.time_plans", lambda *_: None)
    measured, _ = chosen(method="l1", macs=0.6, round_to=MEASURED_STEPS, on=("onnxruntime:cpu",))
    assert {len(group.keep) for group in measured.groups.values()} != {3}
