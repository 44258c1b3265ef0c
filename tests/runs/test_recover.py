"""Which recoveries run, and with which options."""

import pytest
import torch

from compressor.core.errors import DataError, InvalidOption, UnknownPlugin
from compressor.core.options import RunOptions
from compressor.core.progress import SilentProgress
from compressor.data.batches import from_batches
from compressor.runs.datasets import Datasets
from compressor.runs.folder import RunFolder
from compressor.runs.record import Record, Source
from compressor.runs.recover import check_recoveries, recover, recoveries_of
from exporters.signature import ExampleInputs
from tests.networks import images, seeded
from tests.runs import digits


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ("neuron_merging",)),
        ({"recover": ("none",)}, ()),
        ({"data": "d"}, ("least_squares",)),
        ({"data": "d", "finetune_epochs": 2}, ("bn_reestimate", "finetune")),
        ({"data": "d", "finetune_epochs": 2, "recover": ("finetune", "bn_reestimate")}, ("finetune", "bn_reestimate")),
        ({"data": "d", "finetune_epochs": 2, "recover": ("bn_reestimate",)}, ("bn_reestimate", "finetune")),
        ({"data": "d", "recover": ("none",)}, ()),
    ],
)
def test_in_order(options, names):
    assert recoveries_of(RunOptions(**options)) == names


def test_what_does_not_fit_is_said_before_any_work():
    with pytest.raises(InvalidOption, match="--finetune-epochs"):
        check_recoveries(RunOptions(data="d", recover=("finetune",)))
    with pytest.raises(UnknownPlugin, match="Did you mean 'finetune'"):
        check_recoveries(RunOptions(data="d", recover=("finetun",)))
    with pytest.raises(DataError, match=r"'bn_reestimate' needs images.*--data FOLDER"):
        check_recoveries(RunOptions(recover=("bn_reestimate",)))
    for text, sentence in (
        ("bn_reestimate.x=1", r"of one that runs \(least_squares\), but got 'bn_reestimate.x=1'"),
        ("n_rows=3", "RECOVERY.NAME=VALUE"),
        (
            "least_squares.rows=3",
            "least_squares: `--recover-option` must be one of batch_size, n_images, n_rows, ridge",
        ),
        ("least_squares.n_rows=few", "`n_rows` must be of type int"),
        ("least_squares.n_rows=0", "`n_rows` must be at least 1"),
    ):
        with pytest.raises(InvalidOption, match=sentence):
            check_recoveries(RunOptions(data="d", recover_options=(text,)))


def images_with_labels(n=24):
    generator = torch.Generator().manual_seed(5)
    return from_batches([(torch.randn(n, 1, 8, 8, generator=generator), torch.arange(n) % 3)])


def recovered(folder, **options):
    data = Datasets(images_with_labels(), images_with_labels(9))
    original, small = seeded(digits.network), seeded(digits.network, seed=1)
    source = Source(original, ExampleInputs.of(images(channels=1), original), "net.pt", "", "aa")
    record = Record(source, RunOptions(data="d", **options), SilentProgress())
    recover(record, small, data, folder)
    return small, record


def test_a_killed_run_goes_on_with_the_same_weights(tmp_path):
    folder = RunFolder.claim(tmp_path / "run", RunOptions(), "aa")
    small, record = recovered(folder, finetune_epochs=1)
    assert [stage.name for stage in record.stages] == ["bn_reestimate", "finetune"]
    assert [row.stage for row in record.accuracy] == ["bn_reestimate", "finetune"]
    again, second = recovered(folder, finetune_epochs=1)
    assert second.stages == record.stages and second.accuracy == record.accuracy
    assert all(torch.equal(tensor, small.state_dict()[name]) for name, tensor in again.state_dict().items())
    assert not torch.equal(again[0].weight, seeded(digits.network, seed=1)[0].weight)


def test_options_of_recoveries(tmp_path):
    folder = RunFolder.claim(tmp_path / "run", RunOptions(), "aa")
    options = {"recover": ("bn_reestimate", "finetune"), "finetune_epochs": 1}
    _, record = recovered(folder, **options, recover_options=("finetune.batch_size=6", "bn_reestimate.batch_size=8"))
    norms, training = (stage.facts for stage in record.stages)
    assert (norms["batches"], training["batch_size"]) == (3, 6)


def test_without_distillation_only_labels_teach(tmp_path):
    folder = RunFolder.claim(tmp_path / "run", RunOptions(), "aa")
    _, record = recovered(folder, recover=("finetune",), finetune_epochs=1, train_batch_size=8, lr=0.001)
    facts = record.stages[0].facts
    assert "Distillation" not in facts["loss"] and facts["batch_size"] == 8
    other = RunFolder.claim(tmp_path / "other", RunOptions(), "aa")
    _, record = recovered(other, recover=("finetune",), finetune_epochs=1, distill=True)
    assert "Distillation" in record.stages[0].facts["loss"] and "CrossEntropy" in record.stages[0].facts["loss"]


def test_a_repair_that_nobody_asked_for_does_not_end_the_run(tmp_path, monkeypatch):
    def failing(self, context, progress):
        raise RuntimeError("no such operator\nin double precision")

    monkeypatch.setattr("compressor.recovery.neuron_merging.NeuronMerging.apply", failing)
    original, small = seeded(digits.network), seeded(digits.network, seed=1)
    source = Source(original, ExampleInputs.of(images(channels=1), original), "net.pt", "", "aa")
    record = Record(source, RunOptions(), SilentProgress())
    recover(record, small, Datasets(), RunFolder.claim(tmp_path / "run", RunOptions(), "aa"))
    sentence = "neuron_merging was left out, and the model stays as it was cut: no such operator in double precision"
    assert record.notes == [sentence] and record.stages[0].facts == {"skipped": "no such operator in double precision"}
    asked = Record(source, RunOptions(recover=("neuron_merging",)), SilentProgress())
    with pytest.raises(RuntimeError, match="no such operator"):
        recover(asked, small, Datasets(), RunFolder.claim(tmp_path / "asked", RunOptions(), "aa"))
