"""Every verb as people and pipelines use it."""

from __future__ import annotations

import importlib.util
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import onnx
import pytest

from compressor._version import __version__
from compressor.core.options import read_recipe
from tests.cli.command_line import INPUT, NO_FILES, ROOT, CommandLine, Ended, contents

VERBS = ["inspect", "profile", "verify", "methods", "targets", "formats", "demo"]


def fits_80_columns(text: str) -> bool:
    return all(len(line) <= 80 for line in text.splitlines())


# ---------------------------------------------------------------- help


@pytest.mark.parametrize("verb", [[], *([verb] for verb in VERBS)], ids=lambda verb: "".join(verb) or "compress")
def test_every_verb_has_help_without_torch(verb: list[str]) -> None:
    script = (
        "import sys\nfrom compressor.cli.main import main\n"
        f"try:\n    main({[*verb, '--help']!r})\nexcept SystemExit as end:\n    assert end.code in (0, None)\n"
        "assert not {'torch', 'numpy', 'onnxruntime', 'openvino'} & set(sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "NO_COLOR": "1"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Usage: {' '.join(['compress', *verb])}" in done.stdout and "--help" in done.stdout
    assert fits_80_columns(done.stdout)


def test_no_arguments_give_the_help(compress: CommandLine) -> None:
    ended = compress.run()
    assert ended.code == 0 and ended.out == compress.run("--help").out
    assert all(verb in ended.out for verb in VERBS)


def test_the_console_script_is_the_module(compress: CommandLine) -> None:
    script = Path(sys.executable).with_name("compress")
    if not script.exists():
        pytest.skip("the package is not installed: there is no console script")
    done = subprocess.run([str(script), "--version"], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == compress.run("--version").out == f"compress {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["inspekt", "net.pt"], "Did you mean `compress inspect`?"),
        (["methds"], "Did you mean `compress methods`?"),
        (["verify"], "Missing argument 'RUN'. See compress verify --help."),
        (["formats", "onnx"], "onnx"),
        (["verify", "nowhere"], "must be a run folder that exists, but got 'nowhere'"),
    ],
)
def test_misspelled_verbs_and_forgotten_arguments(compress: CommandLine, arguments: list[str], words: str) -> None:
    assert words in compress.refused(2, *arguments)


# ---------------------------------------------------------------- listings


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("methods", ["Use it when", "reprune", "2024", "arXiv:2402.17862", "taylor", "labels", "bn_reestimate"]),
        ("targets", ["onnxruntime:cpu", "torch:cuda", ".onnx", "available"]),
        ("formats", ["onnx", "openvino", "pt2", "installed"]),
    ],
)
def test_listings(compress: CommandLine, verb: str, words: list[str]) -> None:
    ended = compress.run(verb)
    assert (ended.code, ended.err) == (0, "")
    assert all(word in ended.out for word in words)
    assert fits_80_columns(ended.out)


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m compressor methods | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False)
    assert done.returncode == 0 and done.stderr == ""


# ---------------------------------------------------------------- run


def test_a_run_tells_its_steps_and_its_result(finished: tuple[Path, Ended]) -> None:
    run, ended = finished
    for step in ("Loading net.pt ...", "Choosing channels by l1 ...", "Exporting ...", "Comparing files"):
        assert step in ended.err
    assert "\x1b" not in ended.err + ended.out  # no terminal: no colours, no bars
    for words in ("Coverage", "What stays whole, and why", "model.onnx", "agrees", "Asked for: at most 50 %"):
        assert words in ended.out
    assert ended.out.endswith("Written to run/ (open report.html)\n")
    assert fits_80_columns(ended.out)
    assert {path.name for path in run.iterdir()} == {
        "model.onnx", "model.pt2", "model.safetensors", "plan.json", "recipe.toml", "report.html", "report.json",
    }  # fmt: skip


def test_files_of_a_run_are_for_everybody_and_name_no_folders(finished: tuple[Path, Ended], files: Path) -> None:
    run, _ = finished
    assert {oct(path.stat().st_mode & 0o777) for path in run.iterdir()} == {"0o644"}
    for name in ("report.json", "report.html", "plan.json"):
        assert str(files) not in (run / name).read_text()
    report = json.loads((run / "report.json").read_text())
    assert report["model"] == "net.pt" and report["command"].endswith("-o run net.pt")
    assert str(files / "net.pt") in (run / "recipe.toml").read_text()  # the recipe is for this machine
    schema = json.loads((ROOT / "docs" / "schemas" / "report.schema.json").read_text())
    jsonschema.validate(report, schema)


def test_the_recipe_makes_the_run_again(compress: CommandLine, finished: tuple[Path, Ended]) -> None:
    recipe = finished[0] / "recipe.toml"
    assert read_recipe(recipe)["export"] == ["onnx"]
    ended = compress.run("--recipe", recipe, "--export", "none", "-o", "again", "--json")  # what is typed wins
    assert ended.code == 0
    report = json.loads(ended.out)  # nothing else on standard output
    assert report == json.loads((compress.folder / "again" / "report.json").read_text())
    assert [file["name"] for file in report["files"]] == ["model.pt2"]
    old, new = contents(finished[0]), contents(compress.folder / "again")
    assert old["plan.json"] == new["plan.json"] and old["model.safetensors"] == new["model.safetensors"]


# ---------------------------------------------------------------- inspect


def test_inspect(compress: CommandLine, files: Path) -> None:
    ended = compress.run("inspect", files / "weights.pt", "--arch", f"{files / 'loud.py'}:make", "--json")
    assert ended.code == 0
    found = json.loads(ended.out)  # what the model's own code prints is not among it
    assert ended.err.count("hello\n") == 2
    assert [group["name"] for group in found["groups"]] == ["0", "3", "7"]
    assert found["inputs"] == {"input": [1, 3, 32, 32]} and "first layer" in found["inputs_from"]
    assert found["params"] == 2868 and found["prunable_macs_share"] > 0.99
    assert list(compress.folder.iterdir()) == []


def test_inspect_in_a_terminal_shows_bars_and_leaves_tables(files: Path) -> None:
    controller, terminal = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "TERM": "xterm", "OMP_NUM_THREADS": "1"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "compressor", "inspect", str(files / "net.pt"), *INPUT]
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    shown = b""
    while True:
        try:
            piece = os.read(controller, 4096)
        except OSError:  # how a terminal says that nobody writes any more
            break
        if not piece:
            break
        shown += piece
    os.close(controller)
    assert process.wait(timeout=60) == 0
    text = shown.decode()
    assert "\x1b[2K" in text and "━" in text  # a bar that is drawn over
    assert "Following the channels ..." not in text  # the line of those who have no terminal
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert "100 % of the MACs" in plain.replace("\r\n", "\n")


# ---------------------------------------------------------------- profile


def test_profile_one_file(compress: CommandLine, finished: tuple[Path, Ended]) -> None:
    ended = compress.run("profile", finished[0] / "model.onnx")
    assert ended.code == 0 and "Timing on onnxruntime:cpu ..." in ended.err
    assert "median" in ended.out and "p99" in ended.out and "ratio" not in ended.out
    assert fits_80_columns(ended.out)


def test_profile_layer_by_layer_and_the_doctor(compress: CommandLine, finished: tuple[Path, Ended]) -> None:
    file = finished[0] / "model.onnx"
    ended = compress.run("profile", file, file, "--layers", "--doctor")
    assert ended.code == 0
    assert "Layers on onnxruntime:cpu" in ended.out and "GMAC/s" in ended.out
    assert "Doctor" in ended.out and "Not looked for: too many threads" in ended.out
    assert fits_80_columns(ended.out)
    told = json.loads(compress.run("profile", file, "--layers", "--json", "--quiet").out)
    (layers,) = (one["layers"] for one in told["examinations"])
    assert layers["files"] == ["model.onnx"] and told["examinations"][0]["diagnosis"] is None
    assert all(row["after"] is None for row in layers["rows"])


def test_profile_compares_with_the_first(compress: CommandLine, finished: tuple[Path, Ended]) -> None:
    for name in ("a", "b", "c"):
        shutil.copy(finished[0] / "model.onnx", compress.folder / f"{name}.onnx")
    ended = compress.run("profile", "a.onnx", "b.onnx", "c.onnx", "--on", "onnxruntime:cpu", "--json", "--quiet")
    assert (ended.code, ended.err) == (0, "")
    (found,) = json.loads(ended.out)
    assert [one["path"] for one in found["measurements"]] == ["a.onnx", "b.onnx", "c.onnx"]
    assert len(found["comparisons"]) == 2
    for one in found["comparisons"]:
        low, high = one["interval"]
        assert low <= one["ratio"] <= high


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.onnx"], "nowhere.onnx"),
        (["model.onnx", "--on", "onnxruntim:cpu"], "Did you mean 'onnxruntime:cpu'?"),
        (["model.onnx", "--on", "torch:cpu"], "torch:cpu reads .pt2 files"),
        (["model.onnx", "model.pt2"], "onnxruntime:cpu reads .onnx files"),
        (["model.onnx", "--batch-size", "0"], "at least 1"),
        (["plan.json"], "an .onnx, .xml or .pt2 file"),
        (["model.onnx", "--threads", "0"], "`--threads` must be at least 1, but got 0"),
        (["model.onnx", "--threads", "1,100000"], "cores of this machine, but got 100000"),
        (["model.onnx", "--threads", "1,1"], "`--threads` must be different numbers"),
        (["model.onnx", "--threads", "one"], "`--threads` must be whole numbers separated by commas"),
        (["model.onnx", "--batch-size", "1,-8"], "`--batch-size` must be at least 1, but got -8"),
        (["model.onnx", "--batch-size", "8,8"], "`--batch-size` must be different numbers"),
        (["model.onnx", "--processes", "0"], "`--processes` must be at least 1"),
        (["model.onnx", "-o", "plan.json"], "plan.json: is a file"),
        (["model.onnx", "-o", "."], "is not empty and not a profile"),
    ],
)
def test_profile_refuses(finished: tuple[Path, Ended], arguments: list[str], words: str) -> None:
    assert words in CommandLine(finished[0]).refused(2, "profile", *arguments)


def test_profile_writes_a_folder(compress: CommandLine, finished: tuple[Path, Ended]) -> None:
    arguments = ["profile", finished[0] / "model.onnx", "--batch-size", "1,2", "--processes", "1", "-o", "prof"]
    ended = compress.run(*arguments)
    assert ended.code == 0 and "Written to prof/ (open profile.html)" in ended.out
    assert fits_80_columns(ended.out) and "Started alone" in ended.out and "inputs/s" in ended.out
    report = json.loads((compress.folder / "prof" / "profile.json").read_text())
    assert [one["measurements"][0]["batch_size"] for one in report["profiles"]] == [1, 2]
    assert report["profiles"][0]["measurements"][0]["processes"][0] and report["machine"]["cpu"]
    before = contents(compress.folder)
    assert "holds a finished profile" in compress.refused(2, *arguments)
    assert contents(compress.folder) == before


def test_an_interrupted_profile_writes_nothing(compress: CommandLine, finished: tuple[Path, Ended]) -> None:
    ended = compress.stopped(signal.SIGINT, "Timing on", "profile", finished[0] / "model.onnx", "-o", "prof")
    assert ended.code == 130 and ended.error == "error: Interrupted. Nothing was written."
    assert list(compress.folder.iterdir()) == []


def test_a_file_with_a_fixed_batch_takes_no_other(compress: CommandLine) -> None:
    value, output = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4]) for name in ("x", "y"))
    graph = onnx.helper.make_graph([onnx.helper.make_node("Exp", ["x"], ["y"])], "exp", [value], [output])
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), compress.folder / "fixed.onnx")
    sentence = compress.refused(2, "profile", "fixed.onnx", "--batch-size", "1,8", "-o", "prof")
    assert "`batch_size` must be 1, which the file fixes, but got 8. Export it with a dynamic batch axis" in sentence
    assert not (compress.folder / "prof").exists()


@pytest.mark.skipif(importlib.util.find_spec("mlperf_loadgen") is not None, reason="MLPerf's LoadGen is installed here")
def test_loadgen_that_is_not_installed(compress: CommandLine, finished: tuple[Path, Ended]) -> None:
    sentence = compress.refused(3, "profile", finished[0] / "model.onnx", "--loadgen")
    assert "needs the package 'mlcommons-loadgen'" in sentence and "pip install mlcommons-loadgen" in sentence


# ---------------------------------------------------------------- verify


def test_verify_compares_every_file(compress: CommandLine, finished: tuple[Path, Ended]) -> None:
    ended = compress.run("verify", finished[0])
    assert ended.code == 0 and fits_80_columns(ended.out)
    assert "model.onnx" in ended.out and "model.pt2" in ended.out and "disagrees" not in ended.out


@pytest.mark.parametrize(("name", "missing"), [("model.onnx", True), ("model.pt2", True), ("model.pt2", False)])
def test_verify_finds_what_was_changed(
    compress: CommandLine, finished: tuple[Path, Ended], name: str, missing: bool
) -> None:
    shutil.copytree(finished[0], compress.folder / "run")
    damaged = compress.folder / "run" / name
    if missing:
        damaged.unlink()
    else:
        damaged.write_bytes(damaged.read_bytes() + b"!")
    ended = compress.run("verify", "run", "--json")
    assert ended.code == 6
    assert f"{name} {'is missing' if missing else 'was changed after the run'}" in ended.error
    assert {row["file"] for row in json.loads(ended.out) if not row["passed"]} >= {name}


# ---------------------------------------------------------------- demo


def test_the_demo_refuses_before_it_trains(compress: CommandLine, finished: tuple[Path, Ended]) -> None:
    shutil.copytree(finished[0], compress.folder / "demo-run" / "run")
    assert "--force" in compress.refused(2, "demo")
    assert "--macs" in compress.refused(2, "demo", "--macs", "2", "-o", "other")
    assert not (compress.folder / "other").exists()


def test_quiet_is_quiet(compress: CommandLine, files: Path) -> None:
    arguments = [files / "nothing.pt", "--input", "1x3x8x8", *NO_FILES, "--quiet"]
    ended = compress.run(*arguments)
    assert (ended.code, ended.out, ended.err) == (4, "", f"{ended.error}\n")  # nothing but the error
