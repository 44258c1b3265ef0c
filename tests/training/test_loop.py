"""The loop as a whole: it learns, repeats itself, goes on where it was stopped, and says what is wrong."""

import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from compressor.core.errors import ContractViolation, DataError, InvalidOption, UnsupportedModel
from compressor.data.batches import from_batches
from compressor.data.opening import open_dataset
from compressor.training.checkpoint import FILE_NAME
from compressor.training.evaluate import evaluate
from compressor.training.loop import train
from compressor.training.losses.cross_entropy import CrossEntropy
from compressor.training.losses.distillation import Distillation
from compressor.training.recipe import Recipe
from compressor.training.update import Objective

ROOT = Path(__file__).parents[2]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="module")
def uninterrupted(tiny):
    model = tiny.network()
    return model, tiny.run(model)


def test_it_learns_from_labels(tiny):
    model, data = tiny.network(), tiny.dataset()
    before, _ = evaluate(model, data)
    result = train(model, data, replace(tiny.RECIPE, epochs=8), Objective([(1.0, CrossEntropy())]))
    after, _ = evaluate(model, data)
    assert before < 60 and after > 90
    assert len(result.losses) == 8 and result.losses[-1] < 0.5 * result.losses[0]
    assert result.accuracies_percent[-1] > 80 and result.step == 48


def test_it_learns_from_a_teacher_without_labels(tiny):
    teacher, student = tiny.network(), tiny.network(seed=3)
    train(teacher, tiny.dataset(), replace(tiny.RECIPE, epochs=8), Objective([(1.0, CrossEntropy())]))
    unlabelled = tiny.dataset(labelled=False)
    kept = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    result = train(
        student, unlabelled, replace(tiny.RECIPE, epochs=8), Objective([(1.0, Distillation())]), teacher=teacher
    )
    assert result.accuracies_percent == []
    assert evaluate(student, tiny.dataset())[0] > 90
    assert all(torch.equal(tensor, kept[name]) for name, tensor in teacher.state_dict().items())


def test_it_repeats_itself_and_touches_nothing_else(tiny, uninterrupted, assert_same):
    model = tiny.network()
    model[0].train()
    state = torch.get_rng_state()
    torch.rand(3)  # what happens outside does not matter
    outside = torch.get_rng_state()
    assert tiny.run(model) == uninterrupted[1]
    assert torch.equal(outside, torch.get_rng_state()) and not torch.equal(state, outside)
    assert_same(model, uninterrupted[0])
    assert [layer.training for layer in model] == [True] + [False] * 6
    assert model[0].weight.is_contiguous() and model[0].weight.grad is None
    assert "forward" not in vars(model)


def test_another_seed_gives_other_weights(tiny, uninterrupted):
    model = tiny.network()
    tiny.run(model, recipe=replace(tiny.RECIPE, seed=1))
    assert not torch.equal(model[0].weight, uninterrupted[0][0].weight)


@pytest.mark.parametrize("stop_at", [1, 6, 9, 18])  # in mid-epoch, at an epoch's end, after the last step
def test_going_on_after_a_stop_gives_the_same_weights(tiny, uninterrupted, assert_same, tmp_path, stop_at):
    def stop(n):
        if n == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny.run(tiny.network(), tmp_path, tiny.Listener(stop))
    model, listener = tiny.network(), tiny.Listener()
    assert tiny.run(model, tmp_path, listener) == uninterrupted[1]
    assert_same(model, uninterrupted[0])
    if stop_at > 1:
        assert listener.notes == [f"{stop_at - 1} of 18 training steps are done already; going on from there."]


def test_a_killed_process_goes_on(tiny, tmp_path):
    def start(folder, *more):
        folder.mkdir(exist_ok=True)
        command = [sys.executable, str(Path(__file__).with_name("tiny.py")), str(folder), *more]
        return subprocess.Popen(command, env=ONE_THREAD, stdout=subprocess.PIPE, text=True)

    whole = start(tmp_path / "whole")
    killed = start(tmp_path / "killed", "0.05")
    for line in killed.stdout:
        if line == "step 9\n":  # of 18, in mid-epoch
            killed.send_signal(signal.SIGKILL)
            break
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "weights-0.safetensors").exists()
    assert (tmp_path / "killed" / "checkpoints-0" / FILE_NAME).exists()
    again = start(tmp_path / "killed")
    n_steps = again.communicate(timeout=120)[0].count("step ")
    assert 1 <= n_steps <= 10
    whole.communicate(timeout=120)
    assert whole.returncode == again.returncode == 0
    expected = load_file(tmp_path / "whole" / "weights-0.safetensors")
    found = load_file(tmp_path / "killed" / "weights-0.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_finished_run_is_not_repeated(tiny, uninterrupted, assert_same, tmp_path):
    tiny.run(tiny.network(), tmp_path)
    model, listener = tiny.network(), tiny.Listener()
    assert tiny.run(model, tmp_path, listener) == uninterrupted[1]
    assert listener.n == 0
    assert_same(model, uninterrupted[0])


def test_a_checkpoint_of_another_run_is_not_used(tiny, uninterrupted, assert_same, tmp_path):
    tiny.run(tiny.network(seed=7), tmp_path)
    model, listener = tiny.network(), tiny.Listener()
    tiny.run(model, tmp_path, listener)
    assert "other options or weights" in listener.notes[0] and listener.n == 18
    assert_same(model, uninterrupted[0])


def test_progress_tells_epoch_loss_and_accuracy(tiny):
    listener = tiny.Listener()
    tiny.run(tiny.network(), progress=listener)
    assert listener.titles == [("training", 18)]
    expected = r"epoch 3/3, loss \d\.\d{4}, accuracy \d+\.\d %, \d+ images/s"
    assert re.fullmatch(expected, listener.step_notes[-1])


def test_numbers_for_curves(tiny):
    listener = tiny.Listener()
    result = tiny.run(tiny.network(), progress=listener)
    assert {title for title, _, _ in listener.measurements} == {"training"}
    of_steps = {step: values for _, step, values in listener.measurements if "loss" in values}
    of_epochs = {step: values for _, step, values in listener.measurements if "epoch_loss" in values}
    assert list(of_steps) == list(range(1, 19)) and list(of_epochs) == [6, 12, 18]
    assert all(values.keys() == {"loss", "learning_rate", "accuracy_percent"} for values in of_steps.values())
    assert [values["epoch_loss"] for values in of_epochs.values()] == result.losses
    assert [values["epoch_accuracy_percent"] for values in of_epochs.values()] == result.accuracies_percent
    first = [of_steps[step]["loss"] for step in range(1, 7)]
    assert sum(first) / 6 == pytest.approx(result.losses[0])
    assert result.n_trained == 3 * 96 and result.images_per_s == pytest.approx(288 / result.seconds)


def test_two_processes_share_the_work(tiny, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    script = [str(Path(__file__).with_name("tiny.py")), str(tmp_path)]
    done = subprocess.run([*command, *script], env=ONE_THREAD, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (load_file(tmp_path / f"weights-{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(second[name], tensor) for name, tensor in first.items())
    assert (tmp_path / "checkpoints-0" / FILE_NAME).exists() and not (tmp_path / "checkpoints-1").exists()
    assert done.stdout.count("step ") == 18  # the main process alone tells
    assert not torch.equal(first["0.weight"], tiny.network()[0].weight)
    trained = tiny.network()
    trained.load_state_dict(first)
    accuracy, n = evaluate(trained, tiny.dataset(n=95))  # an odd number: one process has more
    for rank in (0, 1):
        assert (tmp_path / f"accuracy-{rank}.txt").read_text() == f"{accuracy} {n}"


def test_a_model_that_views_its_feature_maps(tiny):
    class Viewing(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.linear = nn.Conv2d(1, 4, 3), nn.Linear(4 * 36, 3)

        def forward(self, x):
            return self.linear(self.conv(x).view(len(x), -1))

    train(Viewing(), tiny.dataset(), Recipe(epochs=1, batch_size=16), Objective([(1.0, CrossEntropy())]))


def test_images_decoded_on_demand_train_alike(tiny, assert_same, tmp_path):
    stored, labels = tiny.dataset().batch(range(96))
    for index, (image, label) in enumerate(zip(stored, labels.tolist(), strict=True)):
        (tmp_path / str(label)).mkdir(exist_ok=True)
        Image.fromarray(image[0].numpy()).save(tmp_path / str(label) / f"{index:02}.png")
    models = []
    for limit in (0, 1 << 20):
        data = open_dataset(tmp_path, mean=[0.4], std=[0.3], decoded_limit_bytes=limit)
        assert data.in_memory == bool(limit)
        models.append(tiny.network())
        tiny.run(models[-1], data=data)
    assert_same(*models)


def test_frozen_parameters_stay(tiny):
    model = tiny.network()
    model[0].weight.requires_grad_(False)
    tiny.run(model)
    assert torch.equal(model[0].weight, tiny.network()[0].weight)
    assert not torch.equal(model[6].weight, tiny.network()[6].weight)


def test_fewer_images_than_a_batch(tiny):
    assert tiny.run(tiny.network(), data=tiny.dataset(n=5)).step == 3


def test_bad_input(tiny):
    one = Objective([(1.0, CrossEntropy())])
    with pytest.raises(DataError, match="needs labels"):
        tiny.run(tiny.network(), data=tiny.dataset(labelled=False))
    with pytest.raises(DataError, match="below the model's 2 outputs"):
        train(tiny.network(n_classes=2), tiny.dataset(), tiny.RECIPE, one)
    with pytest.raises(DataError, match="at least 2 images a step"):
        tiny.run(tiny.network(), data=tiny.dataset(n=1))
    with pytest.raises(DataError, match="does not accept images"):
        train(tiny.network(), from_batches([(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64))]), tiny.RECIPE, one)
    with pytest.raises(UnsupportedModel, match="same classes, but have 4 and 3"):
        tiny.run(tiny.network(n_classes=4))
    with pytest.raises(UnsupportedModel, match="no parameter that may change"):
        tiny.run(tiny.network().requires_grad_(False))
    with pytest.raises(ContractViolation, match="another module"):
        model = tiny.network()
        train(model, tiny.dataset(), tiny.RECIPE, Objective(tiny.LOSSES), teacher=model)
    with pytest.raises(ContractViolation, match="needs a teacher"):
        train(tiny.network(), tiny.dataset(), tiny.RECIPE, Objective(tiny.LOSSES))


def test_a_loss_that_blows_up_stops_the_run(tiny, tmp_path):
    with pytest.raises(InvalidOption, match=r"`lr` must be small enough .* Try a tenth") as caught:
        tiny.run(tiny.network(), tmp_path, recipe=Recipe(epochs=5, lr=1e30, batch_size=16))
    assert caught.value.got == 1e30
    assert (
        not (tmp_path / FILE_NAME).exists() or torch.isfinite(load_file(tmp_path / FILE_NAME)["model.0.weight"]).all()
    )
