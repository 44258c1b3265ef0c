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
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "compressor"]
    files = ["net.pt", "--input", "1x1x8x8", "--export", "none", "--on", "none", "-o", "run", "--device", "cpu"]
    data = ["--data", "images.npz", "--val", "images.npz", "--finetune-epochs", "1", "--distill", "--force", "--json"]
    command = [sys.executable, *launcher, *files, *data]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder, done


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
