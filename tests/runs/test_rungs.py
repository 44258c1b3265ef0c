"""Which rung comes when, and where it starts."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.core.plugins import PluginFolder
from compressor.runs import rungs as module
from compressor.runs.rungs import CUT, REPAIRS, Rung, rounds, rungs


class Outcomes:
    """Rungs with the percentages that they will have; None: not applied."""

    def __init__(self, **percents):
        self.percents, self.tried = percents, {CUT: 10.0}

    @property
    def best(self):
        return max(self.tried, key=lambda name: self.tried[name] or 0.0)

    def applied(self, name):
        return self.tried[name] is not None

    def climbed(self, max_epochs=0):
        found = []
        for rung in rungs(self, max_epochs):
            self.tried[rung.name] = self.percents.get(rung.name.replace(" + ", "_then_"), 5.0)
            found.append((rung.name, rung.start))
        return found


@pytest.fixture(autouse=True)
def all_repairs(monkeypatch):
    monkeypatch.setattr(PluginFolder, "names", lambda self: sorted((*REPAIRS, "finetune", "another")))


def test_each_repair_starts_from_the_cut_and_norms_follow():
    assert Outcomes(bn_reestimate=20.0).climbed() == [
        ("bias_absorption", CUT),
        ("bn_reestimate", CUT),
        ("neuron_merging", CUT),
        ("neuron_merging + bn_reestimate", "neuron_merging"),
        ("least_squares", CUT),
        ("least_squares + bn_reestimate", "least_squares"),
    ]


def test_constants_that_were_absorbed_stay_under_new_statistics():
    found = Outcomes(bias_absorption=20.0).climbed()
    assert found[1] == ("bias_absorption + bn_reestimate", "bias_absorption")
    assert ("neuron_merging", CUT) in found and ("least_squares", CUT) in found


def test_without_norms_nothing_follows_a_repair():
    assert [name for name, _ in Outcomes(bn_reestimate=None).climbed()] == [
        "bias_absorption", "bn_reestimate", "neuron_merging", "least_squares",
    ]  # fmt: skip


def test_nothing_follows_what_was_not_applied():
    names = [name for name, _ in Outcomes(neuron_merging=None).climbed()]
    assert "neuron_merging + bn_reestimate" not in names and "least_squares + bn_reestimate" in names


def test_training_starts_from_the_best_so_far_and_each_round_from_the_best_again():
    found = Outcomes(least_squares=60.0, **{"finetune, 2 epochs": 80.0}).climbed(max_epochs=7)
    assert found[-3:] == [
        ("finetune, 1 epoch", "least_squares"),
        ("finetune, 2 epochs", "least_squares"),
        ("finetune, 4 epochs", "finetune, 2 epochs"),
    ]


def test_recoveries_that_are_not_there_are_left_out(monkeypatch):
    monkeypatch.setattr(PluginFolder, "names", lambda self: ["bn_reestimate", "finetune"])
    assert [name for name, _ in Outcomes().climbed(1)] == ["bn_reestimate", "finetune, 1 epoch"]


def test_the_folder_itself_has_what_the_ladder_cannot_do_without(monkeypatch):
    monkeypatch.undo()
    assert "bn_reestimate" in module.known_repairs()
    assert set(module.known_repairs()) <= set(module.RECOVERIES.names()) and "finetune" in module.RECOVERIES.names()


def test_names():
    assert Rung(CUT, "").name == CUT and Rung("finetune", "x", 1).name == "finetune, 1 epoch"


@given(st.integers(0, 500))
def test_rounds_use_up_what_there_is_and_grow(max_epochs):
    lengths = rounds(max_epochs)
    assert sum(lengths) == max_epochs
    assert all(later >= 2 * earlier for earlier, later in pairwise(lengths))
    assert len(set(lengths)) == len(lengths)  # they are told apart by their lengths
    assert lengths[0] == 1 if max_epochs > 2 else len(lengths) <= 1
