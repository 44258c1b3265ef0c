"""Every example runs and reaches the numbers beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "deploy_examples"
EXPECTED = json.loads((EXAMPLES / "expected.json").read_text())


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / script), *arguments], cwd=ROOT, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The very run that `make demo` makes."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "compressor", "demo", "--quiet", "-o", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_example_has_expected_numbers() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(EXPECTED)


def test_the_small_model_classifies_in_onnxruntime_alone(demo: Path) -> None:
    done = run("classify_with_onnxruntime.py", str(demo / "run"), str(demo / "input" / "digits_val.npz"))
    assert done.returncode == 0, done.stderr
    wanted = EXPECTED["classify_with_onnxruntime"]
    assert abs(float(done.stdout.split()[0]) - wanted["accuracy_percent"]) <= wanted["tolerance"]
    report = json.loads((demo / "run" / "report.json").read_text())
    assert float(done.stdout.split()[0]) == pytest.approx(report["accuracy"][-1]["top1_percent"], abs=0.2)


def test_the_gate_opens_for_a_good_run_and_closes_for_a_floor_that_is_missed(demo: Path) -> None:
    opened = run("gate_a_build.py", str(demo / "run"), "--min-accuracy", "90", "--max-drop", "5")
    assert opened.returncode == EXPECTED["gate_a_build"]["exit_code"], opened.stdout
    closed = run("gate_a_build.py", str(demo / "run"), "--min-accuracy", "99.99", "--min-speedup", "1000")
    assert closed.returncode == 1
    assert "below 99.99 %" in closed.stdout and "not 1000x" in closed.stdout


def test_a_live_class_is_pruned_saved_and_replayed_bit_for_bit(tmp_path: Path) -> None:
    done = run("prune_your_own_class.py", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    found = dict(part.split(" ") for part in done.stdout.strip().split(", "))
    wanted = EXPECTED["prune_your_own_class"]
    assert abs(float(found["macs_share"]) - wanted["macs_share"]) <= wanted["tolerance"]
    assert float(found["replay_error"]) == wanted["replay_error"]
    assert float(found["program_error"]) <= wanted["program_error"]
