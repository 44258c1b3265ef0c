"""The real script on models that are made here: results, table, resuming, limits, failures that become sentences."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import timm

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "zoo.py"
MODELS = ROOT / "benchmarks" / "zoo_parts" / "models.csv"

NETWORKS = """
import os
import time

from torch import nn


def tiny():
    return nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4),
    )


def broken():
    raise ValueError("the weights are\\nnowhere | to be found")


def endless():
    time.sleep(600)


def aborting():
    os.abort()
"""
LIST = """family,arch,args,inputs,params
small,networks.py:tiny,,1x3x12x12,1988
small,networks.py:broken,,1x3x12x12,
slow,networks.py:endless,,1x3x12x12,
slow,networks.py:aborting,,1x3x12x12,
"""
STAGES = [
    "build",
    "graph",
    "coverage",
    "plan",
    "cut",
    "oracle",
    "forward",
    "budget",
    "backward",
    "save",
    "replay",
    "export",
    "onnxruntime",
    "openvino",
]


class Zoo:
    """The script with a list, a work folder and a page of its own."""

    def __init__(self, folder):
        self.folder, self.docs = folder, folder / "coverage.md"
        (folder / "networks.py").write_text(NETWORKS)
        (folder / "models.csv").write_text(LIST)

    def run(self, *arguments):
        process = self.start(*arguments)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def start(self, *arguments):
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
        own = ["--models", self.folder / "models.csv", "--work", self.folder / "work", "--write-docs", self.docs]
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), *map(str, own), *arguments],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def children(self):
        """Processes that work on a model of this list."""
        processes = psutil.process_iter(["cmdline"])
        found = [process for process in processes if "zoo_parts.one_model" in (process.info["cmdline"] or [])]
        return [process for process in found if str(self.folder / "models.csv") in process.info["cmdline"]]

    def result(self, name):
        return json.loads((self.folder / "work" / f"networks_{name}.json").read_text())

    def failure(self, name):
        """The first failed stage of a model."""
        return next(stage for stage in self.result(name)["ours"]["stages"] if stage["status"] == "failed")

    def row(self, name):
        """The model's cells on the page."""
        line = next(line for line in self.docs.read_text().splitlines() if line.startswith(f"| networks:{name} |"))
        return [cell.strip() for cell in line.replace("\\|", "¦").strip("| ").split("|")]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """After its first run, of the model that passes and the one that cannot be built."""
    zoo = Zoo(tmp_path_factory.mktemp("zoo"))
    done = zoo.run("--family", "small")
    assert done.returncode == 0, done.stderr
    assert "2 models, 2 to run" in done.stdout
    return zoo


def test_a_model_that_passes_has_every_stage_and_its_figures(zoo):
    result = zoo.result("tiny")
    ours = result["ours"]
    assert {stage["name"]: stage["status"] for stage in ours["stages"]} == dict.fromkeys(STAGES, "passed")
    facts = ours["facts"]
    assert facts["params"] == 32 * 3 * 9 + 32 + 64 + 32 * 32 * 9 + 32 + 4 * 32 + 4
    # Parameters, the norm's two statistics, and its count of batches, which is an 8 byte integer.
    assert facts["model_bytes"] == 4 * (facts["params"] + 64) + 8
    # 32 channels of 10x10 three times (convolution, norm, ReLU) and of 8x8 twice, the pool, four classes.
    assert facts["activation_bytes"] == 4 * (3 * 3200 + 2 * 2048 + 32 + 4)
    assert 0 < facts["macs_left"] <= 0.5
    assert facts["prunable_macs_share"] == 1
    assert facts["oracle_max_rel"] < 1e-9
    assert facts["backward_mode"] == "training"
    assert result["torch_pruning"]["status"] == "pass"
    assert result["versions"]["torch"]


def test_the_page_has_a_line_per_model_and_one_per_family(zoo):
    page = zoo.docs.read_text()
    assert "| small | 2 | 1 (50%) | 1 | 0 | 0 | 0 |" in page
    assert "**2 models of the list have not been run yet.**" in page
    cells = zoo.row("tiny")
    assert cells[6:14] == ["yes"] * 8
    assert cells[14:] == ["**passed**", "pass"]
    assert str(zoo.folder) not in page


def test_a_model_that_cannot_be_built_leaves_one_sentence(zoo):
    failure = zoo.failure("broken")
    assert (failure["name"], failure["left_behind"]) == ("build", "sentence")
    assert "ValueError: the weights are nowhere | to be found" in failure["sentence"]
    assert zoo.row("broken")[14].startswith("build: loading: ")
    assert zoo.row("broken")[6:14] == ["–"] * 8
    assert "the weights are nowhere" in zoo.result("broken")["torch_pruning"]["sentence"]


def test_what_is_done_is_not_run_again(zoo):
    before = zoo.result("tiny"), zoo.result("broken")
    done = zoo.run("--family", "small")
    assert "2 models, 0 to run" in done.stdout
    assert (zoo.result("tiny"), zoo.result("broken")) == before


def test_failed_models_run_again_when_asked(zoo):
    before = zoo.result("tiny"), zoo.result("broken")
    done = zoo.run("--family", "small", "--redo", "failed")
    assert "2 models, 1 to run" in done.stdout
    assert zoo.result("tiny") == before[0]
    assert zoo.result("broken")["ours"]["seconds"] != before[1]["ours"]["seconds"]
    assert zoo.result("broken")["torch_pruning"] == before[1]["torch_pruning"]


@pytest.mark.parametrize(
    ("name", "limits", "left_behind", "sentence"),
    [
        ("endless", ["--limit-s", "2"], "limit", "not finished after 2 s"),
        ("endless", ["--memory-gib", "0.02", "--redo", "all"], "limit", "more than 0.02 GiB of memory"),
        ("aborting", [], "crash", "the process was ended by SIGABRT"),
    ],
)
def test_what_ends_a_process_becomes_a_sentence(zoo, name, limits, left_behind, sentence):
    done = zoo.run("--only", f"networks:{name}", "--without-torch-pruning", *limits)
    assert done.returncode == 0, done.stderr
    failure = zoo.failure(name)
    assert (failure["name"], failure["left_behind"]) == ("build", left_behind)
    assert failure["sentence"].startswith(sentence)
    assert zoo.row(name)[14:] == [f"build [{left_behind}]: {failure['sentence']}", "–"]


def test_an_interrupted_run_leaves_no_process_and_no_result(zoo):
    path = zoo.folder / "work" / "networks_endless.json"
    path.unlink(missing_ok=True)
    process = zoo.start("--only", "networks:endless", "--without-torch-pruning")
    deadline = time.monotonic() + 60
    while not zoo.children():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1].startswith("error: interrupted")
    assert "Traceback" not in err
    assert not zoo.children()
    assert not path.exists()


def test_a_wrong_option_is_one_sentence(zoo):
    done = zoo.run("--only", "no-such-model")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    (zoo.folder / "other.csv").write_text("name,family\na,b\n")
    done = zoo.run("--models", str(zoo.folder / "other.csv"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "must be a CSV file with the columns family, arch, args, inputs, params" in done.stderr


def test_the_list_holds_what_it_promises():
    with MODELS.open(newline="") as file:
        archs = [row["arch"] for row in csv.DictReader(file)]
    names = {arch.partition(":")[2] for arch in archs if arch.startswith("timm:")}
    without = [module for module in timm.list_modules() if not names & set(timm.list_models(module=module))]
    assert without == ["deepseek_vit"]  # its smallest architecture has 412 M parameters
    wanted = "bert vit swin deit convnext clip clip_vision clip_text segformer detr llama whisper_encoder"
    assert {arch.partition(":")[2] for arch in archs if arch.startswith("huggingface.py:")} == set(wanted.split())
    assert {"torchvision:resnet50", "torchvision:retinanet_resnet50_fpn", "torchvision:raft_large"} <= set(archs)
    assert len(archs) == len(set(archs))


def test_random_plans_are_compared_too(zoo, tmp_path, monkeypatch):
    """The fact is on file; and where cut and masked differ under such a plan alone, the stage fails."""
    facts = zoo.result("tiny")["ours"]["facts"]
    assert facts["random_plans"] == 3 and facts["random_plans_max_rel"] < 1e-9
    assert "Random plans were tried on 1 of " in zoo.docs.read_text()
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    from zoo_parts import stages
    from zoo_parts.entries import read_entries
    from zoo_parts.sentences import Failed

    from compressor.surgery.check import Difference

    tiny = next(entry for entry in read_entries(zoo.folder / "models.csv") if entry.name == "networks:tiny")
    subject = stages.Subject(tiny, zoo.folder, tmp_path)
    for stage in (stages.build, stages.coverage, stages.plan):
        stage(subject)
    other = Difference(1.0, 0.1, 1.0, 1e-9, "float64")
    monkeypatch.setattr(stages.Reference, "compare", lambda *_: other)
    with pytest.raises(Failed, match=r"random plan 0: cutting and masking differ by 1.0e-01"):
        stages._random_plans(subject)
