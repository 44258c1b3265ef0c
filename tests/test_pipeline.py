"""The Python interface from end to end: compress, inspect, save, load."""

import copy
import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import compressor
from compressor.core.errors import (
    DataError,
    InvalidOption,
    ModelFileError,
    NothingPrunable,
    OutputError,
    UnknownPlugin,
    UnsupportedModel,
    WeightsMismatch,
)
from tests import networks
from tests.networks import images, seeded

ROOT = Path(__file__).parents[1]


def residual():
    return networks.Residual(16, 24)


def batches(n=4, labels=True, n_classes=5):
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randn(n, 16, 3, 8, 8, generator=generator)
    return [(batch, torch.randint(n_classes, (16,), generator=generator)) if labels else batch for batch in pixels]


@pytest.fixture(scope="module")
def run():
    """A run with data, recovery and an ONNX file, of a model that is left in a mixed state; with what it was before."""
    model = seeded(residual).train()
    model.bn1.eval()
    model.conv3.weight.requires_grad_(False)
    model.head.bias.grad = torch.ones(5)
    before = copy.deepcopy(model)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    result = compressor.compress(
        model, images(), method="taylor", macs=0.5, data=batches(), val=batches(1), export=["onnx"], seed=5,
        finetune_epochs=1, distill=True, lr=0.001, round_to=1,
    )  # fmt: skip
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    return result, model, before, states, after


@pytest.fixture(scope="module")
def saved(run, tmp_path_factory):
    return run[0].save(tmp_path_factory.mktemp("saved") / "run")


class TestTheLiveModel:
    def test_weights_buffers_modes_and_gradients(self, run):
        _, model, before, _, _ = run
        for (name, tensor), old in zip(model.state_dict().items(), before.state_dict().values(), strict=True):
            assert torch.equal(tensor, old), name
        for (name, module), old in zip(model.named_modules(), before.modules(), strict=True):
            assert module.training == old.training, name
            assert not (module._forward_hooks or module._forward_pre_hooks), name
            assert vars(module).keys() == vars(old).keys(), name
        for name, parameter in model.named_parameters():
            assert parameter.requires_grad == (name != "conv3.weight"), name
            assert (parameter.grad is None) == (name != "head.bias"), name

    def test_random_numbers(self, run):
        _, _, _, before, after = run
        assert before[:2] == after[:2] and torch.equal(before[2], after[2])
        assert torch.is_grad_enabled()

    def test_nothing_is_shared_with_it(self, run):
        result, model, *_ = run
        theirs = {tensor.data_ptr() for tensor in model.state_dict().values() if tensor.numel()}
        assert not theirs & {tensor.data_ptr() for tensor in result.module.state_dict().values() if tensor.numel()}


class TestTheResult:
    def test_a_smaller_module_that_runs(self, run):
        result, model, *_ = run
        assert not any(module.training for module in result.module.modules())
        assert result.module(images(5)).shape == (5, 5)
        assert result.plan.params[1] == sum(p.numel() for p in result.module.parameters())
        assert result.plan.params[0] == sum(p.numel() for p in model.parameters())
        assert 0.49 <= result.plan.macs[1] / result.plan.macs[0] <= 0.5
        assert str(result.plan).startswith("taylor: keeps ")

    def test_what_was_frozen_is_frozen(self, run):
        assert [n for n, p in run[0].module.named_parameters() if not p.requires_grad] == ["conv3.weight"]

    def test_the_report_tells_what_was_done(self, run):
        report = run[0].report()
        assert report.exit_code == 0 and report.budget_met and report.command == ""
        assert [row.stage for row in report.accuracy] == ["dense", "cut", "bn_reestimate", "finetune"]
        names = [stage.name for stage in report.stages]
        assert names == ["coverage", "plan", "check", "cut", "bn_reestimate", "finetune", "export", "verify"]
        assert report.cut_check.max_rel_error < 1e-9
        assert {file.format for file in report.files} == {"pt2", "onnx"} and all(row.passed for row in report.parity)
        assert report.inputs == {"x": (2, 3, 8, 8)} and report.options["seed"] == 5
        widths = {row.layer: (row.before, row.after) for row in report.widths}
        assert widths["stem"] == (16, run[0].module.stem.out_channels)

    def test_the_same_again(self, run):
        """Same seed, same data, same weights: bit for bit, whatever the caller's random numbers are."""
        torch.manual_seed(99)
        again = compressor.compress(
            seeded(residual), images(), method="taylor", macs=0.5, data=batches(), seed=5, round_to=1, recover=["none"]
        )
        assert again.plan.groups == run[0].plan.groups and again.plan.cuts == run[0].plan.cuts


class TestSaveAndLoad:
    def test_the_run_folder(self, saved):
        assert sorted(path.name for path in saved.iterdir()) == [
            "model.onnx", "model.pt2", "model.safetensors", "plan.json", "recipe.toml", "report.html", "report.json",
        ]  # fmt: skip
        assert json.loads((saved / "plan.json").read_text())["method"] == "taylor"

    def test_replay_is_bit_for_bit(self, run, saved):
        replayed = compressor.load(saved, model=seeded(residual, seed=8).train())
        with torch.no_grad():
            assert torch.equal(replayed(images(3)), run[0].module(images(3)))

    def test_the_program_needs_no_class(self, run, saved):
        script = f"""
import sys, torch, compressor
program = compressor.load({str(saved)!r})
assert "tests" not in sys.modules and "tests.networks" not in sys.modules
x = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(7))
print(*program(x).flatten().tolist())
"""
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found = torch.tensor([float(word) for word in done.stdout.split()]).view(3, 5)
        with torch.no_grad():
            assert torch.allclose(found, run[0].module(images(3)), atol=1e-5)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (networks.Concat, "expects 16 positions on axis 0 of bn"),
            (lambda: networks.Residual(16, 20), "expects 24 positions"),
            (lambda: nn.Linear(3, 3), "which this model does not have"),
        ],
    )
    def test_another_class_is_refused_and_left_alone(self, saved, make, message):
        model = seeded(make)
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(WeightsMismatch, match=message):
            compressor.load(saved, model=model)
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())

    def test_the_compressed_model_itself_is_not_fresh(self, run, saved):
        with pytest.raises(WeightsMismatch, match="fresh, uncut instance"):
            compressor.load(saved, model=copy.deepcopy(run[0].module))

    def test_a_finished_run_is_not_overwritten(self, run, saved):
        with pytest.raises(OutputError, match="holds a finished run"):
            run[0].save(saved)

    def test_a_folder_has_to_be_named(self, run):
        with pytest.raises(InvalidOption, match=r"save: `path` must be a folder"):
            run[0].save()

    def test_a_second_copy(self, run, saved, tmp_path):
        other = run[0].save(tmp_path / "other")
        assert (other / "model.safetensors").read_bytes() == (saved / "model.safetensors").read_bytes()
        assert (other / "model.onnx").read_bytes() == (saved / "model.onnx").read_bytes()

    def test_a_folder_that_is_no_run(self, tmp_path):
        for model in (None, nn.Linear(1, 1)):
            with pytest.raises(ModelFileError, match="is not a finished run"):
                compressor.load(tmp_path, model=model)


class TestOtherModels:
    def test_keyword_inputs_and_dictionary_outputs(self):
        model = seeded(networks.TwoHeads)
        example = {"pixels": images(), "scale": torch.ones(2, 1, 1, 1)}
        result = compressor.compress(model, example, ratio=0.4, round_to=1, ignore=["conv2"])
        found = result.module(**example)
        assert {name: tensor.shape for name, tensor in found.items()} == {"scores": (2, 4), "features": (2, 6, 4, 4)}
        assert set(result.plan.groups) == {"stem"} and result.module.conv2.out_channels == 7
        reasons = {group.name: group.reason for group in result.report().groups if group.reason}
        assert "--ignore conv2" in reasons["conv2"] and "outputs" in reasons["conv"]

    def test_a_budget_that_cannot_be_met_gives_the_narrowest(self, tmp_path):
        result = compressor.compress(seeded(networks.Concat), images(), macs=0.001, output=str(tmp_path / "run"))
        report = result.report()
        assert report.exit_code == 7 and not report.budget_met and "asks for 0.1%" in report.notes[0]
        assert all(len(group.keep) == 1 for group in result.plan.groups.values())
        assert result.save() == tmp_path / "run" and (tmp_path / "run" / "report.json").exists()


class TestInspect:
    def test_groups_and_coverage(self):
        model = seeded(residual).train()
        rng = torch.get_rng_state()
        coverage = compressor.inspect(model, images(), ignore=["conv1"])
        assert [group.name for group in coverage.groups] == ["stem", "conv3"]
        assert {group.name for group in coverage.blocked} == {"conv1", "head"}
        assert coverage.prunable_macs_share == pytest.approx(1.0) and "2 prunable groups" in str(coverage)
        assert model.training and torch.equal(torch.get_rng_state(), rng)


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"metod": "l1"}, InvalidOption, "Did you mean method"),
            ({"method": "l11"}, UnknownPlugin, "Did you mean 'l1'"),
            ({"export": ["onx"]}, Exception, "onx"),
            ({"macs": 1.5}, InvalidOption, "--macs"),
            ({"macs": 0.5, "ratio": 0.5}, InvalidOption, "one of --macs, --params, --ratio"),
            ({"method": "taylor"}, DataError, "method 'taylor' needs data"),
            ({"recover": ["bn_reestimate"]}, DataError, "bn_reestimate"),
            ({"finetune_epochs": 1}, InvalidOption, "--data"),
            ({"data": "folder"}, InvalidOption, "open_dataset"),
            ({"data": batches(1, labels=False), "method": "taylor"}, DataError, "needs labels"),
            ({"ignore": ["nothing*"]}, InvalidOption, "--ignore"),
            ({"method_options": ["x=1"]}, InvalidOption, "none"),
        ],
    )
    def test_options(self, options, error, message):
        model = seeded(residual).train()
        with pytest.raises(error, match=message):
            compressor.compress(model, images(), **options)
        assert model.training

    def test_models(self):
        with pytest.raises(UnsupportedModel, match=r"no convolution or linear layer.*\(it holds ReLU\)"):
            compressor.compress(nn.Sequential(nn.ReLU()), images())
        with pytest.raises(NothingPrunable, match=r"Nothing can be pruned\. Linear: its channels reach the"):
            compressor.compress(nn.Linear(8, 3), torch.randn(2, 8))
        broken = seeded(residual)
        with torch.no_grad():
            broken.conv1.weight[0, 0, 0, 0] = float("nan")
        with pytest.raises(UnsupportedModel, match=r"conv1.weight holds NaN"):
            compressor.compress(broken, images())
        with pytest.raises(UnsupportedModel, match=r"example inputs, x \(2, 4, 8, 8\) \(RuntimeError: "):
            compressor.compress(seeded(residual), torch.randn(2, 4, 8, 8))


def test_the_steps_are_told():
    class Listener:
        def __init__(self):
            self.titles, self.notes = [], []

        def step(self, title, total=None):
            self.titles.append(title)
            return compressor.core.progress.SilentProgress().step(title)

        def note(self, sentence):
            self.notes.append(sentence)

    listener = Listener()
    compressor.compress(seeded(networks.Flattened), images(), macs=0.0001, progress=listener, export=["none"])
    assert "Following the channels" in listener.titles and "Choosing channels by l1" in listener.titles
    assert any("narrowest" in note for note in listener.notes)
