"""--max-drop from the command line, on a network that has learnt its task."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import compressor
from compressor.core.serial import load_json
from compressor.report.schema import Ladder, Report
from tests.cli.command_line import NO_FILES, CommandLine, Ended
from tests.runs import digits

# A learning rate that changes nothing: the ladder goes through all its rungs.
IDLE = ["--lr", "1e-9", "--train-batch-size", "8"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.pt, images.npz and the same without labels."""
    folder = tmp_path_factory.mktemp("trained")
    digits.write(folder)
    digits.learn(folder)
    images = np.load(folder / "images.npz")["images"]
    np.savez(folder / "unlabelled.npz", images=images)
    assert right(torch.load(folder / "net.pt", weights_only=False), folder) == 90
    return folder


def arguments(trained: Path, data: str = "images.npz") -> list[str | Path]:
    cut = [trained / "net.pt", "--input", "1x1x8x8", "--ratio", "87%", "--round-to", "1"]  # no repair is enough
    return [*cut, "--data", trained / data, "--max-drop", "0", *IDLE, "--device", "cpu", *NO_FILES, "-o", "run"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> tuple[Path, Ended, Ladder]:
    """A run that was not interrupted, what it said, and its ladder: all rungs, then 40 epochs."""
    folder = tmp_path_factory.mktemp("whole")
    ended = CommandLine(folder).run(*arguments(trained), "--val", trained / "images.npz", "--max-epochs", "40")
    ladder = report_of(folder / "run").ladder
    assert ladder is not None
    return folder / "run", ended, ladder


def answers(model: torch.nn.Module, folder: Path) -> tuple[Tensor, Tensor]:
    """The class of each image as the model sees it, and as it is: computed without the package."""
    arrays = np.load(folder / "images.npz")
    with torch.no_grad():
        scores = model(torch.from_numpy(arrays["images"]).float() / 255)
    return scores.argmax(1), torch.from_numpy(arrays["labels"])


def right(model: torch.nn.Module, folder: Path) -> int:
    found, labels = answers(model, folder)
    return int((found == labels).sum())


def report_of(run: Path) -> Report:
    return load_json(Report, run / "report.json")


def test_the_best_is_kept_and_the_exit_code_says_that_it_is_not_enough(
    whole: tuple[Path, Ended, Ladder], trained: Path
) -> None:
    run, ended, ladder = whole
    assert ended.code == 7 and not ladder.reached and ladder.n_images == 90
    assert ladder.rungs[0].name == "cut"
    assert [row.name for row in ladder.rungs][-2:] == ["finetune, 8 epochs", "finetune, 25 epochs"]
    assert "points of accuracy were lost, and --max-drop allows 0" in ended.error
    assert "--max-epochs" in ended.error and "--round-to" not in ended.error
    assert "Recovery ladder (accuracy)" in ended.out and "not kept" in ended.out
    # What stands in the report is what an evaluation of the saved model finds.
    small = compressor.load(run, model=torch.load(trained / "net.pt", weights_only=False))
    found = pytest.approx(100 * right(small, trained) / 90)
    assert ladder.original_percent - ladder.drop_points == found
    assert max(row.percent for row in ladder.rungs if row.percent is not None) == found


def test_it_stops_where_it_is_enough(trained: Path) -> None:
    arrays = np.load(trained / "images.npz")
    images, labels = torch.from_numpy(arrays["images"]).float() / 255, torch.from_numpy(arrays["labels"])
    run = compressor.compress(
        torch.load(trained / "net.pt", weights_only=False), images[:2], data=[(images, labels)], val=[(images, labels)],
        ratio=0.8, round_to=1, max_drop=5, max_epochs=60, train_batch_size=8,
    )  # fmt: skip
    report = run.report()
    assert report.ladder is not None and report.exit_code == 0
    assert report.ladder.reached and report.ladder.drop_points <= 5 and len(report.ladder.rungs) > 1
    percents = [row.percent or 0.0 for row in report.ladder.rungs]
    assert [percent >= 95 for percent in percents] == [False] * (len(percents) - 1) + [True]
    assert report.accuracy[-1].top1_percent == percents[-1] == pytest.approx(100 * right(run.module, trained) / 90)
    assert report.options["max_drop"] == 5.0


def test_agreement_on_images_that_are_set_aside(compress: CommandLine, trained: Path) -> None:
    ended = compress.run(*arguments(trained, "unlabelled.npz"), "--max-epochs", "1")
    assert ended.code == 7 and "points of agreement were lost" in ended.error
    report = report_of(compress.folder / "run")
    assert report.ladder is not None and report.accuracy == ()
    assert (report.ladder.measure, report.ladder.original_percent, report.ladder.n_images) == ("agreement", 100.0, 18)
    assert any("18 of the 90 images of --data were set aside" in note for note in report.notes)
    assert "Recovery ladder (agreement)" in ended.out
    stage = next(stage for stage in report.stages if stage.name == "finetune, 1 epoch")
    assert stage.facts["images"] == 72 and stage.facts["loss"].startswith("1 Distillation")  # type: ignore[union-attr]


def test_a_killed_ladder_goes_on_in_the_middle_of_training(
    compress: CommandLine, trained: Path, whole: tuple[Path, Ended, Ladder]
) -> None:
    other, _, ladder = whole
    last = len(ladder.rungs) - 1
    command = [*arguments(trained), "--val", trained / "images.npz", "--max-epochs", "40"]
    work = compress.folder / "run" / ".work"
    checkpoint = work / f"checkpoints-ladder-{last}" / "training.safetensors"
    ended = compress.stopped(signal.SIGKILL, str(checkpoint), *command)
    assert ended.code == -signal.SIGKILL and not (work / f"ladder-{last}.json").exists()
    again = compress.run(*command)
    assert again.code == 7 and "training steps are done already" in again.err
    assert again.err.count("Fine-tuning ...") == 1 and "Re-estimating" not in again.err  # the others were read back
    found = report_of(compress.folder / "run").ladder
    assert found is not None
    assert [replace(row, seconds=0) for row in found.rungs] == [replace(row, seconds=0) for row in ladder.rungs]
    weights = [load_file(run / "model.safetensors") for run in (compress.folder / "run", other)]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_what_does_not_go_together_is_one_sentence(compress: CommandLine, trained: Path) -> None:
    assert "--finetune-epochs" in compress.refused(2, *arguments(trained), "--finetune-epochs", "2")
    assert "--recover" in compress.refused(2, *arguments(trained), "--recover", "none")
