"""Training for the cut as a stage of a run: what it leaves, what it says, and that it goes on."""

import json

import pytest
import torch

from compressor.core.errors import InvalidOption, UnknownPlugin, UnsupportedModel
from compressor.core.options import RunOptions
from compressor.core.progress import SilentProgress
from compressor.data.opening import open_dataset
from compressor.pipeline import compress
from compressor.runs.coverage import cover
from compressor.runs.datasets import Datasets
from compressor.runs.folder import RunFolder
from compressor.runs.record import Record, Source
from compressor.runs.training import check_training, train_for_the_cut
from compressor.training.evaluate import evaluate
from exporters.signature import ExampleInputs
from tests.runs import digits


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    digits.write(folder)
    return open_dataset(folder / "images.npz")


def recorded(**options):
    torch.manual_seed(0)
    model = digits.network()
    source = Source(model, ExampleInputs.of(torch.zeros(2, 1, 8, 8), model), "net.pt", "", "aa")
    given = {"train": "network_slimming", "train_epochs": 2, "data": "d", "train_batch_size": 16, **options}
    record = Record(source, RunOptions(**given), SilentProgress())
    record.coverage = cover(model, source.inputs)
    return record


def trained(record, images, path):
    folder = RunFolder(path)
    folder.work.mkdir(parents=True, exist_ok=True)
    return train_for_the_cut(record, Datasets(images), folder)


def test_a_copy_is_trained(images, tmp_path):
    record = recorded()
    before = {name: tensor.clone() for name, tensor in record.source.module.state_dict().items()}
    source = trained(record, images, tmp_path)
    assert source.untrained is record.source.module is source.original and source.module is not source.untrained
    assert all(torch.equal(before[name], tensor) for name, tensor in source.untrained.state_dict().items())
    assert not torch.equal(source.module[0].weight, source.untrained[0].weight)
    assert record.importance["0"].shape == (8,)  # the only group with a batch norm
    assert [stage.name for stage in record.stages] == ["train, network_slimming"]
    assert record.stages[0].facts["epochs"] == 2 and record.stages[0].facts["channels"] == 8
    assert any("leaves 3 alone" in note for note in record.notes)


def test_it_is_read_back(images, tmp_path, monkeypatch):
    first = recorded()
    source = trained(first, images, tmp_path)
    monkeypatch.setattr("compressor.runs.training.train", lambda *_, **__: pytest.fail("trained again"))
    again = recorded()
    module = trained(again, images, tmp_path).module
    assert all(torch.equal(a, b) for a, b in zip(source.module.parameters(), module.parameters(), strict=True))
    assert torch.equal(first.importance["0"], again.importance["0"])


@pytest.mark.parametrize("name", ["network_slimming", "proximal_slimming", "group_lasso", "mask_sparsity"])
def test_the_whole_way(images, name):
    """What training drove down leaves, and the report says what happened."""
    torch.manual_seed(0)
    model = digits.network()
    result = compress(
        model, torch.zeros(2, 1, 8, 8), data=images, val=images, train=name, train_epochs=3, macs=0.6,
        train_batch_size=16, lr=0.1, round_to=1,
    )  # fmt: skip
    report = result.report()
    assert [row.stage for row in report.accuracy][:3] == ["dense", "trained", "cut"]
    assert result.plan.method == "trained"
    assert result.plan.allocation == "global" and result.plan.macs[1] <= 0.6 * result.plan.macs[0]
    importance = result._record.importance
    judged = {group: plan for group, plan in result.plan.groups.items() if group in importance}
    assert any(len(plan.keep) < plan.n_channels for plan in judged.values())
    for group, plan in judged.items():
        gone = [i for i in range(plan.n_channels) if i not in plan.keep]
        assert not gone or importance[group][list(plan.keep)].min() >= importance[group][gone].max()


def test_fine_tuning_learns_from_the_model_as_it_was(images):
    torch.manual_seed(0)
    model = digits.network()
    taught = []

    class Watched(type(model)):
        def forward(self, x):
            taught.append((self is model, len(x)))
            return super().forward(x)

    model.__class__ = Watched
    compress(
        model, torch.zeros(2, 1, 8, 8), data=images, train="network_slimming", train_epochs=1, macs=0.6,
        finetune_epochs=1, distill=True, train_batch_size=30, round_to=1,
    )  # fmt: skip
    assert taught.count((True, 30)) == 3  # the model as it was saw each of the three batches of fine-tuning


def test_the_ladder_measures_its_drop_from_the_model_as_it_was(images):
    torch.manual_seed(0)
    model = digits.network()
    percent, _ = evaluate(model, images)
    result = compress(
        model, torch.zeros(2, 1, 8, 8), data=images, val=images, train="network_slimming", train_epochs=8, lr=0.1,
        macs=0.6, max_drop=50.0, train_batch_size=15, round_to=1,
    )  # fmt: skip
    ladder = result.report().ladder
    assert ladder.original_percent == pytest.approx(percent)
    assert ladder.reached and ladder.drop_points < 0  # training made it better than it came


def test_what_does_not_fit_is_said_before_any_work(images, tmp_path):
    with pytest.raises(InvalidOption, match=r"--train` must be used with --data.*Add --data"):
        RunOptions(train="network_slimming")
    with pytest.raises(InvalidOption, match="--train-epochs` must be used with --train"):
        RunOptions(train_epochs=3, data="d")
    with pytest.raises(InvalidOption, match="--train-epochs` must be at least 1"):
        RunOptions(train="network_slimming", train_epochs=0, data="d")
    with pytest.raises(InvalidOption, match=r"--method.*without --train.*Add --train"):
        check_training(RunOptions(method="trained"))
    with pytest.raises(InvalidOption, match="`--train-option` must be one of"):
        check_training(RunOptions(train="network_slimming", data="d", train_options=("strenth=1",)))
    with pytest.raises(InvalidOption, match="strength"):
        check_training(RunOptions(train="network_slimming", data="d", train_options=("strength=-1",)))
    with pytest.raises(UnknownPlugin, match="Did you mean 'network_slimming'"):
        check_training(RunOptions(train="network_slimmin", data="d"))
    with pytest.raises(UnsupportedModel, match="says nothing of channels"):
        trained(recorded(train="trained_rank", decompose="channel", method="trained"), images, tmp_path)


def test_without_labels(images, tmp_path):
    from compressor.core.errors import DataError
    from compressor.data.batches import from_batches

    with pytest.raises(DataError, match="label"):
        trained(recorded(), from_batches(torch.zeros(8, 1, 8, 8)), tmp_path)


def test_the_recipe_remembers(tmp_path):
    from compressor.core.options import options_from, read_recipe, recipe_of

    options = RunOptions(train="network_slimming", train_options=("strength=0.001",), train_epochs=4, data="d")
    (tmp_path / "recipe.toml").write_text(recipe_of(options))
    assert options_from(read_recipe(tmp_path / "recipe.toml")) == options
    assert json.loads(json.dumps(list(options.train_options))) == ["strength=0.001"]
