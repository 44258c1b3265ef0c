"""Splitting layers as a stage of a run: what stays, what is counted, what is said, and what comes back."""

import copy
from types import MappingProxyType

import pytest
import torch
from torch import nn

import compressor
from compressor.core.errors import InvalidOption, NothingPrunable, UnknownPlugin, UnsupportedModel
from compressor.core.options import RunOptions
from compressor.core.progress import SilentProgress
from compressor.data.opening import open_dataset
from compressor.pipeline import compress
from compressor.profiling.statistics import Estimate
from compressor.runs import low_rank
from compressor.runs.coverage import cover
from compressor.runs.folder import RunFolder
from compressor.runs.layer_race import Pair, race
from compressor.runs.low_rank import check_low_rank, rule_of, split_layers
from compressor.runs.record import Record, Source
from exporters.signature import ExampleInputs
from tests.runs import digits

INPUTS = torch.zeros(2, 3, 8, 8)


def network():
    """The second convolution and the first linear layer have rank 2 exactly."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 24),
        nn.ReLU(),
        nn.Linear(24, 5),
    ).eval()
    model[2].weight.data = (torch.randn(32, 2) @ torch.randn(2, 16 * 9)).reshape(32, 16, 3, 3) / 8
    model[7].weight.data = torch.randn(24, 2) @ torch.randn(2, 32) / 8
    return model


def outputs(model, seed=1):
    torch.manual_seed(seed)
    with torch.no_grad():
        return model(torch.randn(4, 3, 8, 8))


def recorded(path, model=None, **options):
    model = network() if model is None else model
    source = Source(model, ExampleInputs.of(INPUTS, model), "net.pt", "", "aa")
    record = Record(source, RunOptions(**{"decompose": "channel", "on": ("none",), **options}), SilentProgress())
    record.coverage = cover(model, source.inputs)
    folder = RunFolder(path)
    folder.work.mkdir(parents=True, exist_ok=True)
    return record, folder


@pytest.fixture
def races(monkeypatch):
    """Replaces timing: `faster(pair)` says how many times as fast; returns the pairs that raced."""
    raced = []

    def install(faster):
        def outcome(pairs, bench, place, *, threads, progress):
            raced.extend(pairs)
            return {p.signature: Estimate(r := faster(p), r * 0.98, r * 1.02) for p in pairs}

        monkeypatch.setattr(low_rank, "race", outcome)
        monkeypatch.setattr(low_rank, "Bench", lambda record, folder: object())
        return raced

    return install


# ---------------------------------------------------------------- without targets: multiply-accumulates decide


def test_layers_of_low_rank_are_split_and_compute_the_same(tmp_path):
    model = network()
    result = compress(model, INPUTS, decompose="channel", decompose_options=["energy=1.0"])
    assert isinstance(result.module[2], nn.Sequential) and isinstance(result.module[7], nn.Linear)
    assert torch.allclose(outputs(result.module), outputs(model), atol=1e-5)
    report = result.report()
    by_layer = {row.layer: row for row in report.low_rank.rows}
    assert by_layer["2"].kept and by_layer["2"].ranks == (2,) and by_layer["2"].relative_error < 1e-5
    assert not by_layer["0"].kept and "saves no MACs" in by_layer["0"].reason
    assert report.budget == {"macs": 1.0} and report.budget_met and result.plan.method == "none"
    assert not result.plan.cuts and report.macs.before == report.low_rank.macs.before > report.macs.after
    assert report.macs.after == report.low_rank.macs.after
    assert report.params.after == sum(p.numel() for p in result.module.parameters())
    assert report.weight_bytes.before > report.weight_bytes.after
    assert any("without a target" in note for note in report.notes)


def test_a_run_comes_back_from_its_folder(tmp_path):
    result = compress(
        network(), INPUTS, decompose="channel", decompose_options=["energy=1.0"], macs=0.3, round_to=1, export=["onnx"]
    )
    run = result.save(tmp_path / "run")
    other = network()
    for parameter in other.parameters():  # a fresh instance knows nothing
        torch.nn.init.normal_(parameter)
    assert torch.equal(outputs(compressor.load(run, other)), outputs(result.module))
    assert torch.allclose(outputs(compressor.load(run)), outputs(result.module), atol=1e-6)


def test_budgets_are_shares_of_the_model_as_it_was():
    alone = compress(network(), INPUTS, decompose="channel", decompose_options=["energy=1.0"]).report().macs
    result = compress(
        network(), INPUTS, decompose="channel", decompose_options=["energy=1.0"], macs=0.8 * alone.share, round_to=1
    )
    report = result.report()
    assert report.macs.before == alone.before and result.plan.method == "l1"
    assert 0.6 * alone.share < report.macs.share <= 0.8 * alone.share * 1.001
    assert any(group.n_kept < group.n_channels for group in report.groups)


def test_nothing_is_cut_where_splitting_is_enough():
    result = compress(network(), INPUTS, decompose="channel", decompose_options=["energy=1.0"], macs=0.95)
    assert result.plan.method == "none" and not result.plan.cuts and result.report().budget_met


def test_a_model_without_channels_to_spare_is_split_all_the_same():
    """Its only widths are those of its input and output; only who names a budget needs others."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 64)).eval()
    model[1].weight.data = torch.randn(64, 2) @ torch.randn(2, 192) / 8
    result = compress(model, INPUTS, decompose="linear", decompose_options=["energy=1.0"], export=["onnx"])
    assert torch.allclose(outputs(result.module), outputs(model), atol=1e-5)
    assert result.report().macs.share < 0.1 and not result.plan.cuts
    assert not any("can be pruned" in note for note in result.report().notes)
    with pytest.raises(NothingPrunable):
        compress(model, INPUTS, decompose="linear", decompose_options=["energy=1.0"], macs=0.05)
    kept = compress(network(), INPUTS, decompose="channel", decompose_options=["energy=1.0"], prune=["heads"])
    assert kept.report().macs.share < 1 and not kept.plan.cuts  # nor has the model with its layers split any heads


def test_ignored_layers_stay(tmp_path):
    record, folder = recorded(tmp_path, decompose="linear", decompose_options=("energy=1.0",), ignore=("7",))
    with pytest.raises(UnsupportedModel, match=r"--decompose linear: No layer is better split\. .*energy=0\.8"):
        split_layers(record, folder)


def test_layers_that_the_kind_does_not_know(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    record, folder = recorded(tmp_path, model, decompose="spatial")
    with pytest.raises(UnsupportedModel, match="has no layer of the kind that it splits"):
        split_layers(record, folder)


# ---------------------------------------------------------------- with targets: races decide


def test_a_layer_stays_where_thin_ones_are_not_faster(tmp_path, races):
    raced = races(lambda pair: 0.9)
    record, folder = recorded(tmp_path, on=(), decompose_options=("energy=1.0",))
    with pytest.raises(UnsupportedModel, match=r"of 2 layers: It is not faster\.|of 2 layers: This saves"):
        split_layers(record, folder)
    (pair,) = raced
    assert pair.layer is record.source.module[2] and pair.shape == (1, 16, 8, 8)  # the run's batch, not the example's


def test_a_layer_goes_where_thin_ones_are_faster(tmp_path, races):
    races(lambda pair: 1.5)
    record, folder = recorded(tmp_path, on=(), decompose_options=("energy=1.0",))
    whole, coverage = record.source, record.coverage
    source = split_layers(record, folder)
    assert source.original is whole.module and isinstance(source.module[2], nn.Sequential)
    assert record.whole.source is whole and record.cost is coverage.cost and record.coverage is not coverage
    (kept,) = [row for row in record.low_rank.rows if row.kept]
    assert kept.layer == "2" and kept.ratio == 1.5
    assert record.stages[-1].facts == {"layers": 1, "of": 2}
    again, folder = recorded(tmp_path, on=(), decompose_options=("energy=1.0",))
    races(lambda pair: pytest.fail("timed again"))
    assert split_layers(again, folder).rewrites == source.rewrites and again.low_rank == record.low_rank


def test_a_layer_that_cannot_be_timed_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(low_rank, "race", lambda *args, **options: {})
    monkeypatch.setattr(low_rank, "Bench", lambda record, folder: object())
    record, folder = recorded(tmp_path, on=(), decompose_options=("energy=1.0",))
    with pytest.raises(UnsupportedModel):
        split_layers(record, folder)


class OneTarget:
    """What `race` needs of a bench."""

    targets = ("onnxruntime:cpu",)
    formats = MappingProxyType({"onnxruntime:cpu": "onnx"})


def test_a_real_race(tmp_path):
    """Each different pair is timed once, at its own batch; a layer that no exporter knows is left out."""

    class Odd(nn.Conv2d):
        def forward(self, x):
            return torch.special.bessel_j0(super().forward(x))

    layer, other = nn.Conv2d(4, 4, 3), nn.Linear(6, 6)
    pairs = [
        Pair(layer, copy.deepcopy(layer), (1, 4, 6, 6)),
        Pair(copy.deepcopy(layer), copy.deepcopy(layer), (1, 4, 6, 6)),
        Pair(other, copy.deepcopy(other), (3, 6)),
        Pair(Odd(4, 4, 3), copy.deepcopy(layer), (1, 4, 6, 6)),
    ]
    found = race(pairs, OneTarget(), tmp_path / "files", threads=1, progress=SilentProgress())
    assert set(found) == {pairs[0].signature, pairs[2].signature}
    assert all(0 < estimate.low <= estimate.value <= estimate.high for estimate in found.values())
    assert not (tmp_path / "files").exists()


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"decompose": "tucker2", "decompose_options": ("energy=2",)}, "above 0 and at most 1"),
        ({"decompose": "tucker2", "decompose_options": ("energy=0.9", "ratio=0.5")}, "exactly one of them"),
        ({"decompose": "tucker2", "decompose_options": ("rank=3",)}, "one of energy, ratio, threshold"),
    ],
)
def test_rules_that_do_not_fit(options, sentence):
    with pytest.raises(InvalidOption, match=sentence):
        check_low_rank(RunOptions(**options))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"decompose_options": ("energy=0.9",)}, "used with --decompose"),
        ({"alternatives": True, "macs": 0.5}, "used with --decompose"),
        ({"decompose": "linear", "alternatives": True}, "Nothing is pruned without a budget"),
        ({"decompose": "linear", "alternatives": True, "macs": 0.5, "on": ("none",)}, "a target, to time"),
        ({"decompose": "linear", "alternatives": True, "macs": 0.5, "max_drop": 1.0, "data": "d"}, "--max-drop"),
        ({"train": "trained_rank", "data": "d"}, "Add --decompose channel"),
        ({"train": "group_lasso", "data": "d", "decompose": "linear", "macs": 0.5}, "Name a --method"),
    ],
)
def test_options_that_do_not_go_together(options, sentence):
    with pytest.raises(InvalidOption, match=sentence):
        RunOptions(**options)


def test_an_unknown_decomposition():
    with pytest.raises(UnknownPlugin, match="tucker2"):
        check_low_rank(RunOptions(decompose="tucker3"))


def test_training_for_low_rank_leaves_the_rule_to_itself():
    assert rule_of(RunOptions(decompose="spatial")).energy == 0.9
    assert rule_of(RunOptions(decompose="spatial", train="trained_rank", data="d")).energy == 1.0
    chosen = RunOptions(decompose="spatial", train="trained_rank", data="d", decompose_options=("ratio=0.5",))
    assert rule_of(chosen).ratio == 0.5 and rule_of(chosen).energy is None


# ---------------------------------------------------------------- after training for it


def test_trained_rank_the_whole_way(tmp_path):
    """The layers that training left at a low rank are split without an error, and fine-tuning mends the rest."""
    digits.write(tmp_path)
    images = open_dataset(tmp_path / "images.npz")
    result = compress(
        digits.network(), torch.zeros(2, 1, 8, 8), data=images, val=images, train="trained_rank", train_epochs=3,
        train_options=["energy=0.6"], train_batch_size=16, decompose="channel", finetune_epochs=1,
    )  # fmt: skip
    report = result.report()
    stages = [row.stage for row in report.accuracy]
    assert stages == ["dense", "trained", "split", "cut", "bn_reestimate", "finetune"]
    trained, split = (row.top1_percent for row in report.accuracy[1:3])
    assert trained == split  # no accuracy is lost where ranks were low already
    (kept,) = [row for row in report.low_rank.rows if row.kept]
    assert kept.layer == "3" and kept.relative_error < 1e-4 and kept.ranks[0] < 8
