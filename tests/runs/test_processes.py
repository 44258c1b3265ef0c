"""Several processes: one claims the folder, writes and talks; all of them train."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import compressor
from compressor.runs.processes import is_main_process, main_process_first
from tests.runs import digits

ROOT = Path(__file__).parents[2]


def test_alone(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert is_main_process()
    with main_process_first("cpu"):
        pass
    monkeypatch.setenv("RANK", "1")
    assert not is_main_process()


@pytest.fixture(scope="module")
def launched(tmp_path_factory, finished):
    """A folder with a finished run of another model, replaced by a run in two processes."""
    folder = tmp_path_factory.mktemp("launched")
    digits.write(folder)
    shutil.copytree(finished, folder / "run")
    (folder / "run" / "notes.txt").write_text("mine")
    done = launch(folder, "--val", "images.npz", "--finetune-epochs", "1", "--distill", "--force")
    assert done.returncode == 0, done.stderr[-4000:]
    return folder, done


def launch(folder, *options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "compressor"]
    files = ["net.pt", "--input", "1x1x8x8", "--export", "none", "--on", "none", "-o", "run", "--device", "cpu"]
    command = [sys.executable, *launcher, *files, "--data", "images.npz", "--json", *options]
    told = {"capture_output": True, "text": True, "timeout": 300, "check": False}
    return subprocess.run(command, cwd=folder, env=environment, **told)


def test_one_run_folder_and_one_report(launched):
    folder, done = launched
    report = json.loads(done.stdout)  # the main process alone prints
    assert [row["stage"] for row in report["accuracy"]] == ["dense", "cut", "bn_reestimate", "finetune"]
    assert {row["n_images"] for row in report["accuracy"]} == {90}
    run = folder / "run"
    assert sorted(path.name for path in run.iterdir()) == [
        "model.pt2", "model.safetensors", "notes.txt", "plan.json", "recipe.toml", "report.html", "report.json",
    ]  # fmt: skip
    assert (run / "notes.txt").read_text() == "mine"
    assert json.loads((run / "report.json").read_text()) == report


def test_notes_are_said_once(launched):
    _, done = launched
    assert done.stderr.count("Accuracy, original") == 1


def test_the_weights_are_those_of_the_training(launched):
    folder, _ = launched
    images = torch.randn(4, 1, 8, 8)
    replayed = compressor.load(folder / "run", model=digits.network())
    program = compressor.load(folder / "run")
    with torch.no_grad():
        assert torch.allclose(replayed(images), program(images), atol=1e-6)


def test_a_ladder_climbed_together(tmp_path):
    """All processes decide alike, although the main one alone remembers and talks."""
    digits.write(tmp_path)
    digits.learn(tmp_path)
    idle = [
        "--ratio",
        "87%",
        "--round-to",
        "1",
        "--max-drop",
        "0",
        "--max-epochs",
        "3",
        "--lr",
        "1e-9",
    ]  # no repair is enough
    done = launch(tmp_path, *idle, "--train-batch-size", "8")
    assert "--max-drop allows 0" in done.stderr, done.stderr[-4000:]
    assert done.stderr.count("after the cut:") == 1 and "Traceback" not in done.stderr.partition("error:")[0]
    ladder = json.loads(done.stdout)["ladder"]
    assert [row["name"] for row in ladder["rungs"]][-2:] == ["finetune, 1 epoch", "finetune, 2 epochs"]
    assert ladder["n_images"] == 18 and ladder["drop_points"] > 0
