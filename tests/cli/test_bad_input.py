"""Whatever is wrong ends with one sentence and its exit code; nothing is half-written, nothing lost."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.command_line import INPUT, NO_FILES, CommandLine, Ended, contents

QUICK = [*INPUT, *NO_FILES, "-o", "run"]
FINETUNE = ["--finetune-epochs", "200", "--train-batch-size", "32", "--recover", "finetune"]


class Thief:
    """A pickle of it runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


# ---------------------------------------------------------------- model files


def test_a_missing_file_is_named_and_so_is_its_neighbour(compress: CommandLine, files: Path) -> None:
    sentence = compress.refused(2, files / "nett.pt", *QUICK)
    assert "nett.pt" in sentence and "net.pt" in sentence.partition("Near it")[2]
    assert not (compress.folder / "run").exists()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(np.random.default_rng(0).bytes(5000), "not a model file", id="random-bytes"),
        pytest.param(b"<html>please log in</html>", "web page", id="web-page"),
        pytest.param(pickle.dumps({"a": 1}), "plain Python pickle", id="plain-pickle"),
    ],
)
def test_what_is_no_model_is_said(compress: CommandLine, content: bytes, word: str) -> None:
    (compress.folder / "model.pt").write_bytes(content)
    assert word in compress.refused(4, "model.pt", *QUICK)
    assert sorted(path.name for path in compress.folder.iterdir()) == ["model.pt"]


def test_a_truncated_file(compress: CommandLine, files: Path) -> None:
    whole = (files / "net.pt").read_bytes()
    (compress.folder / "model.pt").write_bytes(whole[: len(whole) // 2])
    assert "cut short or damaged" in compress.refused(4, "model.pt", *QUICK)
    assert not (compress.folder / "run").exists()


def test_weights_that_were_changed_on_the_way(compress: CommandLine, files: Path) -> None:
    content = bytearray((files / "net.pt").read_bytes())
    content[content.find(b"data/0") + 200] ^= 1
    (compress.folder / "model.pt").write_bytes(content)
    assert "differ from their checksums" in compress.refused(4, "model.pt", *QUICK)


@pytest.mark.parametrize("protocol", ["torch", "legacy"])
def test_a_pickle_that_would_run_code_does_not(compress: CommandLine, protocol: str) -> None:
    thief = Thief(f"touch {compress.folder / 'stolen'}")
    torch.save(thief, compress.folder / "model.pt", _use_new_zipfile_serialization=protocol == "torch")
    sentence = compress.refused(4, "model.pt", *QUICK)
    assert "system" in sentence and "--allow" in sentence and "--trust" in sentence
    assert not (compress.folder / "stolen").exists()
    assert not (compress.folder / "run").exists()


def test_a_state_dict_needs_its_architecture(compress: CommandLine, files: Path) -> None:
    sentence = compress.refused(2, files / "weights.pt", *QUICK)
    assert "--arch" in sentence and "16" in sentence  # what the weights look like


def test_a_state_dict_that_does_not_fit(compress: CommandLine, files: Path) -> None:
    sentence = compress.refused(4, files / "weights.pt", "--arch", f"{files / 'my_model.py'}:make", *QUICK)
    assert "0.weight is (16, 3, 3, 3) in the file, (8, 3, 3, 3) in the model" in sentence
    assert "unknown to the model (1.weight, 1.bias, 1.running_mean, ...)" in sentence
    assert not (compress.folder / "run").exists()


@pytest.mark.parametrize(
    ("arch", "word"),
    [
        ("my_modl.py:make", "a file that exists"),
        ("resnet18", "torchvision:NAME"),
        ("script.py:Net", "usage: script.py"),
    ],
)
def test_an_architecture_that_is_not_there(compress: CommandLine, files: Path, arch: str, word: str) -> None:
    path = files / arch if (files / arch.partition(":")[0]).exists() else arch
    assert word in compress.refused(2, files / "weights.pt", "--arch", path, *QUICK)


def test_a_wrong_input_shape_gets_one_that_runs(compress: CommandLine, files: Path) -> None:
    sentence = compress.refused(2, files / "net.pt", "--input", "1x5x8x8", *NO_FILES)
    assert "1x5x8x8" in sentence and "It runs with --input 1x3x" in sentence


def test_a_model_without_conv_or_linear_layer(compress: CommandLine, files: Path) -> None:
    sentence = compress.refused(4, files / "nothing.pt", *QUICK)
    assert "no convolution or linear layer" in sentence and "ReLU" in sentence
    assert not (compress.folder / "run").exists()


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("flag", "value"),
    [*(("--macs", value) for value in ("0", "1", "150%", "-1", "nan", "abc")), ("--params", "1.5"), ("--ratio", "0%")],
)
def test_a_budget_out_of_range(compress: CommandLine, files: Path, flag: str, value: str) -> None:
    sentence = compress.refused(2, files / "net.pt", flag, value, *QUICK)
    assert flag in sentence and repr(value) in sentence and "0.5 or 50%" in sentence


def test_two_budgets_at_once(compress: CommandLine, files: Path) -> None:
    sentence = compress.refused(2, files / "net.pt", "--macs", "50%", "--params", "50%", *QUICK)
    assert "one of --macs, --params, --ratio" in sentence


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--method", "repune"], 2, "'repune'. Did you mean 'reprune'?"),
        (["--export", "onxx"], 2, "'onxx'. Did you mean 'onnx'?"),
        (["--on", "onnxruntime:cp"], 2, "'onnxruntime:cp'. Did you mean 'onnxruntime:cpu'?"),
        (["--recover", "finetun", "--data", "."], 2, "'finetun'. Did you mean 'finetune'?"),
        (["--export", "onnx", "--opset", "5"], 2, "11 or later"),
        (["--allocation", "globl"], 2, "local or global"),
        (["--mean", "0.5,0.5", "--std", "0.5"], 2, "2 and 1"),
        (["--std", "0", "--mean", "0"], 2, "above 0"),
        (["--mean", "a,b,c", "--std", "1,1,1"], 2, "numbers"),
        (["--threads", "0"], 2, "at least 1"),
        (["--threads", "two"], 2, "--threads"),
        (["--seed", "-1"], 2, "at least 0"),
        (["--threads", "100000"], 2, "cores of this machine"),
        (["--device", "gpu"], 2, "auto, cpu, cuda or cuda:N"),
        (["--device", "cuda:99"], 2, "PyTorch sees"),
        (["--finetune-epochs", "3"], 2, "Add --data"),
        (["--distill"], 2, "--finetune-epochs"),
        (["--data", "nowhere"], 2, "nowhere: there is no such file or folder"),
        (["--macss", "3"], 2, "No such option: --macss"),
        (["more.pt"], 2, "more.pt"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_options(compress: CommandLine, files: Path, arguments: list[str], code: int, words: str) -> None:
    defaults = [] if {"--export", "--on"} & set(arguments) else NO_FILES
    sentence = compress.refused(code, files / "net.pt", *INPUT, *defaults, "-o", "run", *arguments)
    assert words in sentence
    assert not (compress.folder / "run").exists()


def test_no_model_at_all(compress: CommandLine) -> None:
    assert "MODEL" in compress.refused(2, "--macs", "50%")


@pytest.mark.parametrize(
    ("recipe", "word"),
    [
        pytest.param("metod = 'l1'", "Did you mean method?", id="unknown-key"),
        pytest.param("threads = 'two'", "--threads", id="text-for-number"),
        pytest.param("macs = [0.5]", "--macs", id="list-for-number"),
        pytest.param("method = 3", "--method", id="number-for-text"),
        pytest.param("mean = [[1]]", "--mean", id="nested-list"),
        pytest.param("force = 'yes'", "--force", id="text-for-switch"),
        pytest.param("method = ", "valid TOML", id="broken"),
        pytest.param(None, "readable", id="missing"),
    ],
)
def test_a_wrong_recipe(compress: CommandLine, files: Path, recipe: str | None, word: str) -> None:
    if recipe is not None:
        (compress.folder / "recipe.toml").write_text(recipe)
    assert word in compress.refused(2, files / "net.pt", "--recipe", "recipe.toml", *QUICK)


# ---------------------------------------------------------------- packages


@pytest.fixture
def without(tmp_path: Path) -> Any:
    """An environment in which packages are as if they were not installed."""

    def make(*packages: str) -> dict[str, str]:
        folder = tmp_path / "without"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(
            "from importlib.machinery import PathFinder\n"
            "found = PathFinder.find_spec\n"
            f"hidden = {packages!r}\n"
            "def find(name, path=None, target=None):\n"
            "    return None if name.partition('.')[0] in hidden else found(name, path, target)\n"
            "PathFinder.find_spec = staticmethod(find)\n"
        )
        return {"PYTHONPATH": str(folder)}

    return make


def test_a_missing_extra(compress: CommandLine, files: Path, without: Any) -> None:
    sentence = compress.refused(
        3, files / "weights.pt", "--arch", "torchvision:resnet18", *QUICK, **without("torchvision")
    )
    assert "'torchvision', which is not installed. Run: pip install 'compressor[vision]'" in sentence


def test_a_missing_runtime(compress: CommandLine, files: Path, without: Any) -> None:
    arguments = [*INPUT, "--export", "openvino", "--on", "none"]
    sentence = compress.refused(3, files / "net.pt", *arguments, **without("openvino"))
    assert "needs openvino, which is not installed. Run: pip install openvino" in sentence


# ---------------------------------------------------------------- data


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Two classes, one broken image."""
    for label in ("cats", "dogs"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / "images" / label / f"{i}.png")
    (tmp_path / "images" / "dogs" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\nand then nothing")
    return tmp_path / "images"


def test_broken_images_are_counted_and_named(compress: CommandLine, files: Path, image_folder: Path) -> None:
    sentence = compress.refused(2, files / "net.pt", "--data", image_folder, *QUICK)
    assert "1 of 6 images" in sentence and "dogs/1.png" in sentence
    assert not (compress.folder / "run").exists()


def test_missing_labels(compress: CommandLine, files: Path) -> None:
    sentence = compress.refused(2, files / "net.pt", "--val", files / "unlabelled.npz", *QUICK)
    assert "unlabelled.npz" in sentence and "label" in sentence
    assert not (compress.folder / "run").exists()


def test_means_for_other_channels(compress: CommandLine, files: Path) -> None:
    numbers = ["--mean", "0.5,0.5", "--std", "0.5,0.5"]
    sentence = compress.refused(2, files / "net.pt", "--data", files / "images.npz", *numbers, *QUICK)
    assert "1 or 3 numbers" in sentence


# ---------------------------------------------------------------- the run folder


@pytest.mark.parametrize(
    ("output", "word"),
    [("taken/run", "taken is a file"), ("taken", "is a file"), ("/proc/run", "/proc/run")],
)
def test_an_output_folder_that_cannot_be(compress: CommandLine, files: Path, output: str, word: str) -> None:
    (compress.folder / "taken").write_text("mine")
    sentence = compress.refused(2, files / "net.pt", *INPUT, *NO_FILES, "-o", output)
    assert word in sentence and "-o" in sentence
    assert (compress.folder / "taken").read_text() == "mine"


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_folder_with_other_files_is_left_alone(compress: CommandLine, files: Path, force: list[str]) -> None:
    shutil.copy(files / "net.pt", compress.folder / "model.pt")
    (compress.folder / "report.json").write_text("{}")  # not one of ours
    before = contents(compress.folder)
    assert "is not empty" in compress.refused(2, "model.pt", *INPUT, *NO_FILES, "-o", ".", *force)
    assert contents(compress.folder) == before


def test_a_finished_run_asks_for_force(compress: CommandLine, files: Path, finished: tuple[Path, Ended]) -> None:
    shutil.copytree(finished[0], compress.folder / "run")
    before = contents(compress.folder)
    sentence = compress.refused(2, files / "net.pt", *QUICK)
    assert "finished run" in sentence and "--force" in sentence
    assert contents(compress.folder) == before


def test_force_keeps_the_old_result_until_there_is_a_new_one(
    compress: CommandLine, files: Path, finished: tuple[Path, Ended]
) -> None:
    run = compress.folder / "run"
    shutil.copytree(finished[0], run)
    (run / "my-notes.txt").write_text("keep me")
    (run / "model.pt").write_text("mine, too")
    before = contents(run)
    compress.refused(4, files / "nothing.pt", *QUICK, "--force")
    assert contents(run) == before

    ended = compress.run(files / "net.pt", *QUICK, "--macs", "60%", "--force", "--quiet")
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    after = contents(run)
    assert after["report.json"] != before["report.json"]
    assert "model.onnx" in before and "model.onnx" not in after  # of the old run, and not of the new one
    assert (run / "my-notes.txt").read_text() == "keep me" and (run / "model.pt").read_text() == "mine, too"
    assert not (run / ".work").exists()


def test_an_impossible_budget_writes_the_best_result(compress: CommandLine, files: Path) -> None:
    ended = compress.run(files / "net.pt", *QUICK, "--macs", "0.1%")
    assert ended.code == 7
    assert "budget was not met" in ended.error and "run" in ended.error
    assert (compress.folder / "run" / "report.json").is_file()


# ---------------------------------------------------------------- a full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and os.geteuid() == 0 and _mount(["-t", "tmpfs", "-o", "size=24k", "tmpfs"], folder)
    if not mounted:
        pytest.skip("a small disk can only be made by root, outside of most containers")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _mount(options: list[str], folder: Path) -> bool:
    return subprocess.run(["mount", *options, str(folder)], capture_output=True, check=False).returncode == 0


def test_a_full_disk_says_so_and_the_run_goes_on_later(compress: CommandLine, files: Path, small_disk: Path) -> None:
    run = small_disk / "run"
    arguments = [files / "net.pt", *INPUT, *NO_FILES, "-o", run]
    for size in ("24k", "40k"):  # too small for the exported files, then for the weights and the report
        assert _mount(["-o", f"remount,size={size}"], small_disk)
        ended = compress.run(*arguments)
        assert ended.code == 2, ended
        assert "disk is full" in ended.error
        assert [path.name for path in run.iterdir()] == [".work"]
    assert _mount(["-o", "remount,size=10m"], small_disk)
    assert compress.run(*arguments, "--quiet").code == 0
    assert (run / "report.json").is_file() and not (run / ".work").exists()


# ---------------------------------------------------------------- interruptions


def test_ctrl_c_in_generated_code(compress: CommandLine) -> None:
    """Exporters run texts; an interrupt inside one once ended the process by the signal, in spite of our exit code."""
    compress.folder.joinpath("interrupted.py").write_text(
        "from compressor.cli.exits import one_sentence\n"
        "with one_sentence('compress'):\n"
        "    exec('import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(5)')\n"
    )
    command = [sys.executable, "-m", "interrupted"]
    done = subprocess.run(command, cwd=compress.folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 130 and done.stderr.startswith("error: Interrupted."), done


def test_ctrl_c_at_any_stage_and_a_kill_lose_nothing(compress: CommandLine, files: Path) -> None:
    run = compress.folder / "run"
    arguments = [files / "net.pt", *INPUT, "--data", files / "images.npz", *FINETUNE, "-o", run]

    def interrupted(at: str, *more: str) -> Ended:
        ended = compress.stopped(signal.SIGINT, at, *arguments, *more)
        assert (ended.code, ended.out) == (130, ""), ended.err
        assert "Interrupted" in ended.error and "same command" in ended.error
        return ended

    interrupted("Loading")
    assert not run.exists()

    checkpoint = run / ".work" / "checkpoints-0-finetune" / "training.safetensors"
    ended = compress.stopped(signal.SIGKILL, str(checkpoint), *arguments)
    assert ended.code == -signal.SIGKILL
    assert [path.name for path in run.iterdir()] == [".work"]

    assert "training steps are done already" in interrupted("going on from there").err
    interrupted("Exporting ...", "--export", "onnx")
    ended = interrupted("Timing on", "--export", "none", "--on", "torch:cpu")
    assert "Fine-tuning" not in ended.err  # it was finished before the export was interrupted
    assert [path.name for path in run.iterdir()] == [".work"]

    sentence = compress.refused(2, files / "net.pt", *INPUT, "--macs", "30%", *NO_FILES, "-o", run)
    assert "interrupted run of another model or with other options" in sentence

    ended = compress.run(*arguments, *NO_FILES, "--quiet")
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert {"model.pt2", "model.safetensors", "report.json"} <= set(contents(run))
    assert not (run / ".work").exists()


def test_a_kill_while_training_for_the_cut_changes_nothing(compress: CommandLine, files: Path) -> None:
    """The same command goes on within the training, and ends with the very weights of a run that was left alone."""
    training = ["--train", "group_lasso", "--train-epochs", "30", "--train-batch-size", "8", "--recover", "none"]
    arguments = [files / "net.pt", *INPUT, "--data", files / "images.npz", *training, *NO_FILES, "--quiet"]
    whole, killed = compress.folder / "whole", compress.folder / "killed"
    assert compress.run(*arguments, "-o", whole).code == 0

    checkpoint = killed / ".work" / "checkpoints-trained" / "training.safetensors"
    assert compress.stopped(signal.SIGKILL, str(checkpoint), *arguments, "-o", killed).code == -signal.SIGKILL
    assert not (killed / ".work" / "trained.safetensors").exists()  # it was within the training
    ended = compress.run(*arguments, "-o", killed)
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert contents(killed)["model.safetensors"] == contents(whole)["model.safetensors"]


def test_training_for_the_cut_that_does_not_fit(compress: CommandLine, files: Path) -> None:
    given = [files / "net.pt", *INPUT, "--data", files / "images.npz", *NO_FILES]
    for more, code, sentence in (
        (["--train", "grop_lasso"], 2, "Did you mean 'group_lasso'"),
        (["--train", "group_lasso", "--train-option", "strenth=1"], 2, "`--train-option` must be one of"),
        (["--train", "group_lasso", "--train-epochs", "0"], 2, "`--train-epochs` must be at least 1"),
        (["--train", "trained_rank"], 2, "Add --decompose channel"),
        (["--train", "trained_rank", "--decompose", "tucker3"], 2, "Did you mean 'tucker2'"),
        (["--decompose", "linear", "--alternatives"], 2, "Nothing is pruned without a budget"),
        (["--decompose", "linear", "--decompose-option", "energy=2"], 2, "above 0 and at most 1"),
    ):
        run = compress.folder / "run"
        assert sentence in compress.refused(code, *given, *more, "-o", run), more
        assert not run.exists(), more
    said = compress.refused(2, *given, "--train", "group_lasso", "--lr", "1e30", "-o", run)
    assert "The loss became" in said and "with a learning rate of" in said and "Try a tenth of it" in said
