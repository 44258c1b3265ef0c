"""Saved models come back, and damaged ones are refused in one sentence."""

import json

import pytest
import torch
from safetensors import safe_open
from torch import nn

import compressor
from compressor.core.errors import ModelFileError, OutputError, WeightsMismatch
from compressor.core.plan import PLAN_FORMAT
from compressor.runs.saved import load_program, load_weights, read_plan, replay, save_weights
from tests.networks import seeded
from tests.runs import digits


def test_weights_come_back_bit_for_bit(tmp_path):
    model, other = seeded(digits.network), seeded(digits.network, seed=1)
    save_weights(model, tmp_path / "weights.safetensors")
    load_weights(other, tmp_path / "weights.safetensors")
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in other.state_dict().items())


def test_shared_tensors_are_stored_once(tmp_path):
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    save_weights(model, tmp_path / "weights.safetensors")
    with safe_open(tmp_path / "weights.safetensors", "pt") as file:
        assert len(file.keys()) == 1
    fresh = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    fresh[1].weight = fresh[0].weight
    load_weights(fresh, tmp_path / "weights.safetensors")
    assert torch.equal(fresh[1].weight, model[0].weight)


def test_classes_that_want_the_version_of_the_file(tmp_path):
    """As MNASNet does: weights are copied as they were saved, and nothing is converted."""

    class Versioned(nn.Linear):
        def _load_from_state_dict(self, state_dict, prefix, local_metadata, *others):
            if local_metadata.get("version") != 2:
                raise ValueError("version should be set to 2")
            super()._load_from_state_dict(state_dict, prefix, local_metadata, *others)

    saved, fresh = Versioned(3, 3), Versioned(3, 3)
    save_weights(saved, tmp_path / "weights.safetensors")
    load_weights(fresh, tmp_path / "weights.safetensors")
    assert torch.equal(fresh.weight, saved.weight)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: nn.Linear(3, 4), r"bias is float32 \(3,\) in the file and float32 \(4,\) in the model"),
        (lambda: nn.Linear(3, 3).double(), r"float32 \(3,\) in the file and float64"),
        (lambda: nn.Linear(3, 3, bias=False), "it holds bias"),
        (lambda: nn.Sequential(nn.Linear(3, 3)), "it lacks 0.weight, 0.bias and it holds bias, weight"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, other, message):
    save_weights(nn.Linear(3, 3), tmp_path / "weights.safetensors")
    model = other()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(WeightsMismatch, match=message):
        load_weights(model, tmp_path / "weights.safetensors")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_same_weights_are_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_weights(seeded(digits.network), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_nowhere_to_write(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        save_weights(nn.Linear(2, 2), tmp_path / "no" / "folder" / "weights.safetensors")


def test_weights_of_another_model_and_damaged_ones(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(seeded(digits.network), path)
    with pytest.raises(WeightsMismatch, match="does not fit this model"):
        load_weights(nn.Linear(3, 3), path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelFileError, match=r"cannot be read.*Make the run again"):
        load_weights(seeded(digits.network), path)


def test_replay_equals_the_module(compressed, finished, pixels):
    small = replay(finished, seeded(digits.network, seed=9))
    with torch.no_grad():
        assert torch.equal(small(pixels), compressed.module(pixels))
        assert torch.allclose(load_program(finished)(pixels), small(pixels), atol=1e-6)
    assert read_plan(finished) == compressed.plan


class TestDamage:
    @pytest.fixture
    def plan(self, copied):
        return json.loads((copied / "plan.json").read_text())

    def refused(self, copied, plan, error, message):
        (copied / "plan.json").write_text(plan if isinstance(plan, str) else json.dumps(plan))
        model = seeded(digits.network)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        with pytest.raises(error, match=message) as caught:
            compressor.load(copied, model=model)
        assert caught.value.exit_code == 4
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, before[name]), name

    def test_no_plan_at_all(self, copied):
        for text in ("", "{", "[]", '{"method": 3}'):
            self.refused(copied, text, ModelFileError, r"plan.json: not a valid PruningPlan")

    def test_a_plan_of_a_later_version(self, copied, plan):
        self.refused(copied, {**plan, "format": PLAN_FORMAT + 1}, ModelFileError, "newer version .*Update compressor")

    def test_kept_channels_that_cannot_be(self, copied, plan):
        plan["groups"]["0"]["keep"] = [5, 2]
        self.refused(copied, plan, ModelFileError, r"plan.json: not a valid PruningPlan \(keep must be ascending")

    def test_a_cut_outside_the_tensor(self, copied, plan):
        plan["cuts"][0]["keep"][-1] = 10_000
        self.refused(copied, plan, WeightsMismatch, "The file is damaged")

    def test_a_cut_of_a_tensor_that_is_not_there(self, copied, plan):
        plan["cuts"][0]["tensor"] = "nothing.weight"
        self.refused(copied, plan, WeightsMismatch, "nothing.weight, which this model does not have")

    def test_an_attribute_that_is_no_size(self, copied, plan):
        plan["attributes"][0].update(attribute="training", before=0, after=0)
        self.refused(copied, plan, WeightsMismatch, "no smaller size")

    def test_a_layer_that_is_not_there(self, copied, plan):
        plan["attributes"][0]["layer"] = "99"
        self.refused(copied, plan, WeightsMismatch, "99.")

    def test_a_cut_that_was_left_out(self, copied, plan):
        """The cut itself fits; the weights do not."""
        plan["cuts"] = plan["cuts"][1:]
        (copied / "plan.json").write_text(json.dumps(plan))
        with pytest.raises(WeightsMismatch, match="does not fit this model"):
            compressor.load(copied, model=seeded(digits.network))

    @pytest.mark.parametrize("name", ["plan.json", "model.safetensors"])
    def test_a_missing_file(self, copied, name):
        (copied / name).unlink()
        with pytest.raises(ModelFileError, match=rf"is not a finished run \(it has no {name}\)"):
            compressor.load(copied, model=seeded(digits.network))

    def test_a_damaged_program(self, copied):
        (copied / "model.pt2").write_bytes(b"nothing")
        with pytest.raises(Exception, match=r"model\.pt2") as caught:
            compressor.load(copied)
        assert caught.value.exit_code == 4
