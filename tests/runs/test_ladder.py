"""The climb with plug-ins whose effect is known: a model that is right about its first m of ten classes."""

import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from compressor.core.errors import DataError, InvalidOption
from compressor.core.options import RunOptions
from compressor.core.plan import GroupPlan, PruningPlan
from compressor.core.plugins import PluginFolder
from compressor.core.progress import SilentProgress
from compressor.data.batches import from_batches
from compressor.runs import ladder as module
from compressor.runs import rungs
from compressor.runs.datasets import Datasets
from compressor.runs.estimate import removed_share
from compressor.runs.folder import RunFolder
from compressor.runs.ladder import check_rungs, climb
from compressor.runs.record import Record, Source
from compressor.runs.summary import exit_code
from exporters.signature import ExampleInputs

# {name}: what it makes of a model that is right about `m` classes; every call is written to `calls`.
PLUGIN_FILE = """
from dataclasses import dataclass
from typing import ClassVar
from compressor.core.errors import UnsupportedModel
from tests.runs.test_ladder import right, calls

@dataclass(frozen=True)
class Fake:
    needs: ClassVar[frozenset] = frozenset()
    epochs: int = 0
    lr: float = 0.1
    batch_size: int = 2
    flip: bool = False

    def apply(self, context, progress):
        m = right(context.model)
        calls.append(("{name}", m, self.epochs, context.seed))
        {body}
        right(context.model, m)
        return {{"epochs": self.epochs}}

PLUGIN = Fake
"""
calls: list[tuple[str, int, int, int]] = []


def right(model, m=None):
    """Of how many classes the model is right; sets it, too."""
    if m is not None:
        with torch.no_grad():
            model.weight.copy_(torch.diag((torch.arange(10) < m).float()))
    return int(model.weight.diagonal().sum())


def images(labelled=True, n=20):
    classes = torch.arange(n) % 10
    inputs = torch.eye(10)[classes]
    return from_batches([(inputs, classes)] if labelled else [inputs])


@pytest.fixture
def folder(tmp_path):
    return RunFolder.claim(tmp_path / "run", RunOptions(), "aa")


@pytest.fixture
def recoveries(tmp_path, monkeypatch):
    """Writes plug-ins: name -> the line that changes `m`."""
    calls.clear()

    def write(**bodies):
        package = tmp_path / "fake_recoveries"
        package.mkdir()
        (package / "__init__.py").write_text("")
        for name, body in {"finetune": "m += self.epochs", **bodies}.items():
            (package / f"{name}.py").write_text(PLUGIN_FILE.format(name=name, body=body))
        for user in (module, rungs):
            monkeypatch.setattr(user, "RECOVERIES", PluginFolder("fake_recoveries", "recovery"))

    monkeypatch.syspath_prepend(tmp_path)
    yield write
    for name in [name for name in sys.modules if name.startswith("fake_recoveries")]:
        del sys.modules[name]


def climbed(folder, m=4, labelled=True, original=9, **options):
    """A cut that is right about `m` of ten classes, of an original that is about nine (or `original`)."""
    linear = nn.Linear(10, 10, bias=False).eval()
    right(linear, original)
    small = nn.Linear(10, 10, bias=False).eval()
    right(small, m)
    notes = []

    class Listener(SilentProgress):
        def note(self, sentence):
            notes.append(sentence)

    source = Source(linear, ExampleInputs.of(torch.eye(10), linear), "net.pt", "", "aa")
    record = Record(source, RunOptions(data="d", **{"max_drop": 10.0, **options}), Listener())
    record.plan = PruningPlan(
        "l1", {}, "local", {}, 1, 0, {"a": GroupPlan(10, tuple(range(8)))}, (), (), (100, 60), (10, 5)
    )
    climb(record, small, Datasets(images(), images(labelled)), folder)
    return small, record, notes


def names(record):
    return [row.name for row in record.ladder.rungs]


def test_a_cut_that_is_good_enough_needs_nothing(folder, recoveries):
    recoveries(bn_reestimate="m = 9")
    small, record, _ = climbed(folder, m=8)
    assert calls == [] and right(small) == 8 and exit_code(record) == 0
    assert names(record) == ["cut"] and record.ladder.reached  # a drop of exactly what is allowed is allowed
    assert [(row.stage, row.top1_percent, row.n_images) for row in record.accuracy] == [
        ("dense", 90.0, 20), ("cut", 80.0, 20),
    ]  # fmt: skip


def test_it_stops_at_the_first_rung_that_is_enough(folder, recoveries):
    recoveries(bias_absorption="m = 5", bn_reestimate="m += 3", least_squares="m = 9")
    small, record, _ = climbed(folder)
    assert [name for name, *_ in calls] == ["bias_absorption", "bn_reestimate"]
    ladder = record.ladder
    assert names(record) == ["cut", "bias_absorption", "bias_absorption + bn_reestimate"]
    assert [row.percent for row in ladder.rungs] == [40.0, 50.0, 80.0]
    assert [row.bought_points for row in ladder.rungs] == [None, 10.0, 30.0]
    assert all(row.kept for row in ladder.rungs) and ladder.reached and ladder.drop_points == 10.0
    assert (ladder.measure, ladder.original_percent, ladder.n_images) == ("accuracy", 90.0, 20)
    assert right(small) == 8 and ladder.largest_budget == {} and exit_code(record) == 0
    assert [row.stage for row in record.accuracy] == [
        "dense", "cut", "bias_absorption", "bias_absorption + bn_reestimate",
    ]  # fmt: skip
    assert [stage.name for stage in record.stages] == ["bias_absorption", "bias_absorption + bn_reestimate"]


def test_what_makes_things_worse_is_not_kept_and_not_built_upon(folder, recoveries):
    recoveries(bias_absorption="m = 2", bn_reestimate="m += 1", neuron_merging="m = 3", least_squares="m += 2")
    small, record, _ = climbed(folder, max_epochs=3)
    # recovery, classes right before it, epochs, seed: repairs start from the cut (4), whatever came before
    assert calls == [
        ("bias_absorption", 4, 0, 0), ("bn_reestimate", 4, 0, 0),
        ("neuron_merging", 4, 0, 0), ("bn_reestimate", 3, 0, 0),
        ("least_squares", 4, 0, 0), ("bn_reestimate", 6, 0, 0),
        ("finetune", 7, 1, 7),
    ]  # fmt: skip
    rows = {row.name: row for row in record.ladder.rungs}
    assert rows["bn_reestimate"].bought_points == 10.0  # against the cut, the best before it
    assert rows["bias_absorption"].bought_points == -20.0 and rows["neuron_merging"].bought_points == -20.0
    assert [name for name, row in rows.items() if row.kept] == [
        "cut", "least_squares", "least_squares + bn_reestimate", "finetune, 1 epoch",
    ]  # fmt: skip
    assert right(small) == 8 and record.ladder.reached


def test_rounds_of_training_start_from_the_best_with_batches_of_their_own(folder, recoveries):
    recoveries(finetune="m = 5 if self.epochs == 2 else m + 1")
    small, record, _ = climbed(folder, max_drop=0, max_epochs=7, seed=3)
    assert [(m, epochs) for _, m, epochs, _ in calls] == [(4, 1), (5, 2), (5, 4)]
    assert len({seed for *_, seed in calls}) == 3 and 3 not in {seed for *_, seed in calls}
    assert [row.kept for row in record.ladder.rungs] == [True, True, False, True]
    assert not record.ladder.reached and right(small) == 6 and record.ladder.max_epochs == 7


def test_no_epochs_no_training(folder, recoveries):
    recoveries()
    _, record, _ = climbed(folder, max_epochs=0)
    assert calls == [] and names(record) == ["cut"] and not record.ladder.reached


def test_a_rung_that_refuses_leaves_no_trace(folder, recoveries):
    recoveries(
        bn_reestimate="m += 1",
        neuron_merging="right(context.model, 9); raise UnsupportedModel('SiLU bends it.')",
        least_squares="m = m",
    )
    small, record, notes = climbed(folder, max_epochs=0)
    rows = {row.name: row for row in record.ladder.rungs}
    assert list(rows) == ["cut", "bn_reestimate", "neuron_merging", "least_squares"]
    refused, idle = rows["neuron_merging"], rows["least_squares"]
    assert (refused.percent, refused.bought_points, refused.kept) == (None, None, False)
    assert refused.reason == "SiLU bends it." and idle.percent is None and "changes nothing" in idle.reason
    assert right(small) == 5 and record.ladder.drop_points == 40.0
    assert "neuron_merging: not applied: SiLU bends it." in notes
    assert [row.stage for row in record.accuracy] == ["dense", "cut", "bn_reestimate"]


def test_why_a_rung_was_skipped_is_its_own_word(folder, recoveries):
    recoveries(bn_reestimate="return {{'skipped': 'no norms'}}".replace("{{", "{").replace("}}", "}"))
    _, record, _ = climbed(folder, max_epochs=0)
    assert record.ladder.rungs[1].reason == "no norms"


def test_not_reached_the_best_is_kept_and_the_largest_budget_estimated(folder, recoveries):
    recoveries(least_squares="m = 7")
    small, record, _ = climbed(folder, max_epochs=0)
    assert not record.ladder.reached and exit_code(record) == 7 and right(small) == 7
    assert record.ladder.drop_points == 20.0
    # 40 % of the MACs left and 20 points were lost; 10 points may be: 40 % / sqrt(2) = 28.3 % may leave.
    assert record.ladder.largest_budget == {"macs": 0.72}


@pytest.mark.parametrize(
    ("options", "estimate"),
    [
        # 40 % of the MACs left for 20 points: half of that for a quarter of the points.
        ({"max_drop": 5.0}, {"macs": 0.8}),
        ({"max_drop": 0.0}, {"macs": 1.0}),
        ({"params": 0.5, "max_drop": 5.0}, {"params": 0.75}),
        # 50 % * sqrt(16.2 / 20) = 45 % exactly, which floating point must not round to 44 %.
        ({"params": 0.5, "max_drop": 16.2}, {"params": 0.55}),
        # Two of ten channels left for 20 points: one for 5; 20 % / sqrt(2) = 14.1 % for 10.
        ({"ratio": 0.2, "max_drop": 5.0}, {"ratio": 0.1}),
        ({"ratio": 0.2}, {"ratio": 0.14}),
    ],
)
def test_estimates_by_hand(folder, recoveries, options, estimate):
    recoveries(least_squares="m = 7")
    _, record, _ = climbed(folder, max_epochs=0, **options)
    assert record.ladder.largest_budget == estimate


def test_removed_shares():
    plan = PruningPlan("l1", {}, "local", {}, 1, 0, {"a": GroupPlan(4, (0,)), "b": GroupPlan(6, (1, 2, 3, 4))},
                       (), (), (100, 70), (10, 4))  # fmt: skip
    assert [removed_share(plan, unit) for unit in ("macs", "params", "ratio")] == pytest.approx([0.3, 0.6, 0.5])


def test_without_labels_agreement_stands_in(folder, recoveries):
    recoveries(bn_reestimate="m = 7")
    small, record, notes = climbed(folder, labelled=False, max_epochs=0)
    # Where a model is not right it answers 0. They agree on the seven, and on class 9, which neither knows: 8 of 10.
    assert record.ladder.measure == "agreement" and record.ladder.original_percent == 100.0
    assert record.ladder.rungs[1].percent == 80.0 and right(small) == 7
    assert record.accuracy == [] and record.ladder.drop_points == pytest.approx(20.0)
    assert any("no labels" in note and "agreement" in note for note in record.notes)
    assert not any("accuracy on" in note for note in notes)


class Killed(BaseException):
    pass


def test_an_interrupted_ladder_goes_on_after_the_last_rung(folder, recoveries, monkeypatch):
    recoveries(bn_reestimate="m = 6", least_squares="m = 5", finetune="self.epochs == 2 and stop(); m += 1")
    stopping = [True]

    def stop():
        if stopping:
            raise Killed

    monkeypatch.setattr("builtins.stop", stop, raising=False)
    with pytest.raises(Killed):
        climbed(folder, max_drop=0, max_epochs=3)
    before = [name for name, *_ in calls]
    assert before == ["bn_reestimate", "least_squares", "bn_reestimate", "finetune", "finetune"]
    calls.clear()
    stopping.clear()
    small, record, _ = climbed(folder, max_drop=0, max_epochs=3)
    assert calls == [("finetune", 7, 2, 5)]  # from the weights that the first round left
    assert right(small) == 8 and len(record.stages) == 5 and record.stages[0].facts == {"epochs": 0}
    whole, other, _ = climbed(RunFolder.temporary(folder.path.parent / "other"), max_drop=0, max_epochs=3)
    assert torch.equal(whole.weight, small.weight)
    assert [replace(row, seconds=0) for row in other.ladder.rungs] == [
        replace(row, seconds=0) for row in record.ladder.rungs
    ]


def test_a_finished_ladder_is_read_back(folder, recoveries):
    recoveries(bn_reestimate="m = 9", bias_absorption="m = 5")
    first = climbed(folder)
    calls.clear()
    second = climbed(folder)
    assert calls == [] and second[1].ladder == first[1].ladder and right(second[0]) == 9
    assert second[1].accuracy == first[1].accuracy and second[1].stages == first[1].stages


def test_few_images_are_said(folder, recoveries):
    recoveries()
    _, record, _ = climbed(folder, max_drop=4.0, max_epochs=0)
    assert any("One of the 20 images" in note and "is 5 points" in note for note in record.notes)
    _, record, _ = climbed(RunFolder.temporary(folder.path.parent / "other"), max_drop=5.0, max_epochs=0)
    assert not any("One of the" in note for note in record.notes)


def test_what_does_not_fit_is_said_before_any_work():
    with pytest.raises(InvalidOption, match="batch_size"):
        check_rungs(RunOptions(data="d", max_drop=1.0, train_batch_size=1))
    check_rungs(RunOptions(data="d", max_drop=1.0, max_epochs=0))
    check_rungs(RunOptions())


def test_images_of_another_model_end_the_run(folder, recoveries):
    recoveries()
    linear = nn.Linear(10, 2)
    source = Source(linear, ExampleInputs.of(torch.eye(10), linear), "net.pt", "", "aa")
    record = Record(source, RunOptions(data="d", max_drop=1.0), SilentProgress())
    with pytest.raises(DataError, match="below the model's 2 outputs"):
        climb(record, linear, Datasets(images(), images()), folder)
