"""Synthetic measurements, and a target that does nothing, slowly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compressor.core.measurement import MachineFacts, Measurement

MACHINE = MachineFacts(
    cpu="Test CPU", n_cores=4, n_cores_usable=4, memory_mib=1024, system="Linux 6 x86_64", python="3.12.0"
)

# Sleeps for as long as the file says, and notes each call beside the file.
PRETENDER = """
import os, time
from dataclasses import dataclass, field
from pathlib import Path
from compressor.core.errors import UnsupportedModel

@dataclass(frozen=True)
class Pretender:
    name = "pretender:cpu"
    accepts = (".sleep",)
    shapes: dict = field(default_factory=dict)

    def unavailable(self):
        return ""

    def prepare(self):
        self.__class__.library = b"x" * (8 << 20)

    def runner(self, path, batch_size, threads):
        text, _, held_mib = path.read_text().partition(" holds ")
        held = b"x" * (int(held_mib or 0) << 20)
        def note(line):
            with (path.parent / "journal.txt").open("a") as journal:
                journal.write(line + "\\n")
        note(f"pid {os.getpid()}")
        note(f"load {path.stem} {batch_size} {threads} {self.shapes}")
        print("a runtime's chatter")
        if text == "raise":
            raise ValueError("first line\\nlast line")
        if text == "refuse":
            raise UnsupportedModel("pretender:cpu: refuses. Do something else.")
        if text == "abort":
            os.abort()
        def run():
            note(path.stem)
            time.sleep(float(text))
            counter = Path(os.environ.get("PRETENDED_COUNTER", path.parent / "none"))
            if counter.exists():
                counter.write_text(str((int(counter.read_text()) + 1000) % 5_000_000))
        return run

    def describe(self):
        return {"runtime": "pretender 1"}

class Absent(Pretender):
    def unavailable(self):
        return "There is no such device."
"""


@pytest.fixture
def pretender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Makes "pretender:Pretender" importable in workers; returns what writes a file for it."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "pretender.py").write_text(PRETENDER)
    monkeypatch.setenv("PYTHONPATH", str(folder))

    def write(name: str, content: str) -> Path:
        path = tmp_path / f"{name}.sleep"
        path.write_text(content)
        return path

    return write


def synthetic(
    processes: list[list[float]], *, burst_size: int = 1, session: str = "one", **changes: object
) -> Measurement:
    """A measurement with the given samples in seconds."""
    fields: dict[str, object] = {
        "target": "onnxruntime:cpu",
        "path": Path("model.onnx"),
        "sha256": "0" * 64,
        "batch_size": 1,
        "threads": 1,
        "processes": tuple(tuple(samples) for samples in processes),
        "warmups": tuple(() for _ in processes),
        "machine": MACHINE,
        "details": {"runtime": "onnxruntime 1"},
        "burst_size": burst_size,
        "session": session,
    }
    return Measurement(**(fields | changes))  # type: ignore[arg-type]


def pair(
    seed: int,
    true_ratio: float,
    *,
    n_processes: int = 6,
    n_rounds: int = 10,
    between: float = 0.01,
    within: float = 0.01,
) -> tuple[Measurement, Measurement]:
    """Two measurements of one session: a shared drift, a difference per process and noise per burst (all relative)."""
    random = np.random.default_rng(seed)
    drift = np.exp(0.1 * random.standard_normal((n_processes, n_rounds, 1)))
    sides = []
    for seconds in (true_ratio * 1e-3, 1e-3):
        process = np.exp(between * random.standard_normal((n_processes, 1, 1)) / np.sqrt(2))
        burst = np.exp(within * random.standard_normal((n_processes, n_rounds, 1)))
        samples = seconds * drift * process * burst * np.exp(0.002 * random.standard_normal((n_processes, n_rounds, 5)))
        sides.append(synthetic(samples.reshape(n_processes, -1).tolist(), burst_size=5))
    return sides[0], sides[1]


@pytest.fixture
def make_measurement() -> Callable[..., Measurement]:
    return synthetic


@pytest.fixture
def make_pair() -> Callable[..., tuple[Measurement, Measurement]]:
    return pair
