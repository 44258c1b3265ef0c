"""Curves beside the bar: who is told, under which title, and what happens when they cannot be kept."""

import pytest

from compressor.core.errors import InvalidOption, UnknownPlugin
from compressor.core.options import RunOptions, options_from
from compressor.core.progress import SilentProgress
from compressor.pipeline import compress, compress_file
from compressor.runs import tracking
from compressor.runs.tracking import tracked
from tests.runs import digits


class Listener(SilentProgress):
    def __init__(self):
        self.notes, self.measurements = [], []

    def note(self, sentence):
        self.notes.append(sentence)

    def measured(self, title, step, values):
        self.measurements.append((title, step, values))


class Kept:
    hint = "look here"

    def __init__(self, folder, broken=False):
        self.folder, self.broken, self.told, self.closed = folder, broken, [], False

    def log(self, title, step, values):
        if self.broken and step > 1:
            raise OSError("the disk is full")
        self.told.append((title, step, values))

    def close(self, finished):
        self.closed = "finished" if finished else "stopped"


@pytest.fixture
def made(monkeypatch):
    found = []

    class Folder:
        def load(self, name):
            def make(folder):
                found.append(Kept(folder, broken=name == "broken"))
                return found[-1]

            return make

    monkeypatch.setattr(tracking, "TRACKERS", Folder())
    return found


def test_without_trackers_nothing_is_between(tmp_path):
    listener = Listener()
    with tracked((), tmp_path, listener) as told:
        assert told is listener


def test_trackers_are_told_what_people_are_told(made, tmp_path):
    listener = Listener()
    with tracked(("one", "two", "one"), tmp_path, listener) as told:
        told.measured("fine-tuning", 1, {"loss": 1.0})
        told.note("a sentence")
        with told.step("a title", 3) as step:
            step.advance()
    assert len(made) == 2 and all(each.closed == "finished" and each.folder == tmp_path for each in made)
    assert made[0].told == made[1].told == listener.measurements == [("fine-tuning", 1, {"loss": 1.0})]
    assert listener.notes == ["Curves of training: look here"] * 2 + ["a sentence"]


def test_a_run_that_is_stopped_is_not_finished(made, tmp_path):
    with pytest.raises(KeyboardInterrupt), tracked(("one",), tmp_path, Listener()):
        raise KeyboardInterrupt
    assert made[0].closed == "stopped"


def test_rounds_that_begin_again_have_curves_of_their_own(made, tmp_path):
    with tracked(("one",), tmp_path, Listener()) as told:
        for title, step in (("a", 1), ("a", 2), ("b", 1), ("a", 1), ("a", 1), ("a", 2), ("b", 2)):
            told.measured(title, step, {})
    assert [(title, step) for title, step, _ in made[0].told] == [
        ("a", 1), ("a", 2), ("b", 1), ("a 2", 1), ("a 2", 1), ("a 2", 2), ("b", 2)
    ]  # fmt: skip


def test_a_tracker_that_breaks_is_left_out_and_the_training_goes_on(made, tmp_path):
    listener = Listener()
    with tracked(("broken", "one"), tmp_path, listener) as told:
        for step in (1, 2, 3):
            told.measured("a", step, {})
    assert [len(each.told) for each in made] == [1, 3]
    assert listener.notes[2:] == ["Kept: curves are not kept any longer: the disk is full"]


def test_options():
    with pytest.raises(InvalidOption, match=r"--track. must be used with --train, --finetune-epochs or --max-drop"):
        RunOptions(track=("tensorboard",))
    with pytest.raises(UnknownPlugin, match="Did you mean 'tensorboard'"), tracked(("tensorbord",), None, Listener()):
        pass
    with pytest.raises(InvalidOption, match="left out from Python"):
        compress(None, None, track=["tensorboard"], data=[], finetune_epochs=1)


def test_a_run_with_everything(tmp_path, monkeypatch):
    """Mixed images, feature maps and curves, from the options of the command line to the files."""
    pytest.importorskip("tensorboard")
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    digits.write(tmp_path)
    typed = {
        "model": str(tmp_path / "net.pt"), "input": ["1x1x8x8"], "data": str(tmp_path / "images.npz"), "macs": "60%",
        "round_to": 1, "train": "network_slimming", "train_epochs": 1, "finetune_epochs": 2, "train_batch_size": 30,
        "augment": ["cutmix"], "augment_options": ["cutmix.probability=0.5"], "features": "attention_transfer",
        "features_options": ["weight=0.1"], "track": ["tensorboard", "mlflow"], "on": ["none"], "export": ["none"],
        "output": str(tmp_path / "run"),
    }  # fmt: skip
    listener = Listener()
    result = compress_file(options_from(typed), listener)
    facts = {stage.name: stage.facts for stage in result.report().stages}
    assert facts["finetune"]["loss"].endswith("0.1 AttentionTransfer(squared=False)")
    assert facts["finetune"]["augmentation"].endswith("CutMix(alpha=1.0, probability=0.5)")
    assert facts["finetune"]["images_per_second"] > 0 < facts["train, network_slimming"]["images_per_second"]
    curves = tmp_path / "run" / "curves"
    assert {"fine-tuning", "training, network_slimming", "mlflow.db"} <= {each.name for each in curves.iterdir()}
    assert sum(title == "fine-tuning" and "loss" in values for title, _, values in listener.measurements) == 6
    assert 'track = [\n    "tensorboard",' in (tmp_path / "run" / "recipe.toml").read_text()
