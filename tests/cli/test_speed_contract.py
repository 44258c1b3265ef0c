"""--speedup and --latency where they cannot be kept, cannot be told, or cannot be measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from compressor.core.serial import load_json
from compressor.report.schema import Report
from tests.cli.command_line import INPUT, CommandLine, Ended
from tests.runs.controlled import wide

TIMED = ["--export", "onnx", "--on", "onnxruntime:cpu"]
NOISE = """
import sys
if "compressor.profiling.worker" in sys.orig_argv:
    import os, random, time
    real, draw, lost = time.perf_counter, random.Random(os.getpid()), [0.0]
    def busy():
        lost[0] += 0.01 * draw.lognormvariate(0, 2)  # other programs take the processor, for longer than we need it
        return real() + lost[0]
    time.perf_counter = busy
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide enough that its narrowest version is faster; with images beside it."""
    path = tmp_path_factory.mktemp("model") / "wide.pt"
    torch.manual_seed(0)
    torch.save(wide().eval(), path)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 3, 8, 8), dtype=np.uint8)
    np.savez(path.with_name("images.npz"), images=pixels, labels=np.arange(64) % 3)
    return path


def report_of(compress: CommandLine) -> Report:
    return load_json(Report, compress.folder / "run" / "report.json")


def position(ended: Ended, words: str) -> int:
    assert words in ended.err, ended.err
    return ended.err.index(words)


def test_less_than_the_narrowest_model_takes_is_said_before_training(compress: CommandLine, model: Path) -> None:
    """With the number, after one small model was timed; then the best that there is is made all the same."""
    training = ["--data", model.with_name("images.npz"), "--finetune-epochs", "1", "--recover", "finetune"]
    ended = compress.run(model, *INPUT, "--latency", "0.001us", *TIMED, *training, "-o", "run")
    assert ended.code == 7 and "The budget was not met" in ended.error, ended
    sentence = position(ended, "--latency 1e-06ms was not reached: ")
    told = ended.err[sentence:].partition("\n")[0]
    assert " ms [" in told and "on onnxruntime:cpu, with the narrowest model" in told
    assert sentence < position(ended, "Fine-tuning" if "Fine-tuning" in ended.err else "finetune")
    search = report_of(compress).speed_search
    assert search is not None and not search.reached and len(search.rows) == 1


def test_a_speed_up_that_no_model_reaches_costs_few_models(compress: CommandLine, model: Path) -> None:
    ended = compress.run(model, *INPUT, "--speedup", "1000x", *TIMED, "-o", "run")
    assert ended.code == 7, ended
    position(ended, "--speedup 1000x was not reached: ")
    search = report_of(compress).speed_search
    assert search is not None and len(search.rows) == 1


def test_a_machine_so_busy_that_nothing_can_be_told(compress: CommandLine, model: Path) -> None:
    (compress.folder / "busy").mkdir()
    (compress.folder / "busy" / "sitecustomize.py").write_text(NOISE)
    busy = {"PYTHONPATH": str(compress.folder / "busy")}
    ended = compress.run(model, *INPUT, "--speedup", "1.01x", *TIMED, "-o", "run", **busy)
    assert ended.code == 7, ended
    report = report_of(compress)
    (row,) = report.latency
    assert row.interval is not None and row.interval[0] < 1.01 < row.interval[1]  # else the test tells nothing
    (note,) = [note for note in report.notes if "for the files that were written" in note]
    assert note.startswith("--speedup 1.01x cannot be told for the files that were written: ")
    assert "The times vary too much for that (load " in note and note in " ".join(ended.err.split())


@pytest.mark.parametrize("target", ["onnxruntime:cuda", "openvino:gpu", "torch:cuda"])
def test_a_device_that_is_not_there(compress: CommandLine, model: Path, target: str) -> None:
    if target.endswith("cuda") and torch.cuda.is_available():
        pytest.skip("there is one")
    sentence = compress.refused(2, model, *INPUT, "--speedup", "2x", "--on", target, "-o", "run")
    assert "targets that can be timed here" in sentence and repr(target) in sentence
    assert not (compress.folder / "run").exists()


def test_an_unknown_device(compress: CommandLine, model: Path) -> None:
    sentence = compress.refused(2, model, *INPUT, "--latency", "5ms", "--on", "onnxruntime:tpu", "-o", "run")
    assert "No target is named 'onnxruntime:tpu'" in sentence
    assert not (compress.folder / "run").exists()


def test_a_latency_that_the_original_keeps(compress: CommandLine, model: Path) -> None:
    ended = compress.run(model, *INPUT, "--latency", "10s", *TIMED, "-o", "run")
    assert (ended.code, ended.out) == (2, "") and "Nothing has to be removed." in ended.error, ended
    assert not (compress.folder / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--speedup", "1x"], "a factor above 1"),
        (["--speedup", "fast"], "such as 2x"),
        (["--latency", "0ms"], "such as 5ms"),
        (["--latency", "5 minutes"], "such as 5ms"),
        (["--latency", "5ms", "--on", "none"], "a target, to measure --latency"),
        (["--latency", "5ms", "--speedup", "2x"], "one of --macs, --params, --ratio, --speedup, --latency"),
        (["--speedup", "2x", "--export", "none", "--on", "openvino:cpu"], "add the format to --export"),
    ],
)
def test_budgets_that_are_none(compress: CommandLine, model: Path, arguments: list[str], words: str) -> None:
    assert words in compress.refused(2, model, *INPUT, *arguments, "-o", "run")
    assert not (compress.folder / "run").exists()
