from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from compressor.core.errors import CompressionError, InvalidOption, ModelFileError, UnsupportedModel
from compressor.core.files import sha256_of
from compressor.core.measurement import Measurement
from compressor.core.serial import from_json, to_json
from compressor.profiling.timer import measure

Write = Callable[[str, str], Path]
FACTORY = "pretender:Pretender"


class Listener:
    def __init__(self) -> None:
        self.said: list[tuple[str, float | None]] = []
        self.done = 0.0

    @contextmanager
    def step(self, title: str, total: float | None = None) -> Iterator[Listener]:
        self.said.append((title, total))
        yield self

    def advance(self, n: float = 1.0, note: str = "") -> None:
        self.done += n

    def note(self, sentence: str) -> None:
        raise AssertionError(sentence)


def journal(tmp_path: Path) -> list[str]:
    return (tmp_path / "journal.txt").read_text().splitlines()


def test_two_files_in_fresh_processes(pretender: Write, tmp_path: Path) -> None:
    a, b = pretender("a", "0.001"), pretender("b", "0.0005")
    listener = Listener()
    one, other = measure([a, b], "pretender:cpu", FACTORY, processes=3, seconds=0.1, threads=2, progress=listener)

    assert (one.path, other.path) == (a, b)
    assert one.sha256 == sha256_of(a)
    assert (one.target, one.threads, one.batch_size) == ("pretender:cpu", 2, 1)
    assert one.session == other.session != ""
    assert one.details == {"runtime": "pretender 1"}
    for measurement in (one, other):
        assert len(measurement.processes) == len(measurement.warmups) == 3
        assert len({len(samples) for samples in measurement.processes}) == 1
        assert len(measurement.processes[0]) % measurement.burst_size == 0
    assert listener.said == [("timing on pretender:cpu", 3)]
    assert listener.done == 3
    pids = {line for line in journal(tmp_path) if line.startswith("pid")}
    assert len(pids) == 3
    loads = [line.split()[1] for line in journal(tmp_path) if line.startswith("load")]
    assert loads == ["a", "b", "b", "a", "a", "b"]  # who comes first alternates


def test_a_measurement_survives_saving(pretender: Write) -> None:
    (measurement,) = measure([pretender("a", "0.001")], "pretender:cpu", FACTORY, processes=1, seconds=0.05)
    assert from_json(Measurement, to_json(measurement), "test") == measurement


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        ("raise", UnsupportedModel, r"pretender:cpu: timing bad\.sleep failed: last line"),
        ("refuse", UnsupportedModel, r"^pretender:cpu: refuses\. Do something else\.$"),
        ("abort", UnsupportedModel, r"failed: the process was ended by SIGABRT"),
    ],
)
def test_a_failing_worker_becomes_a_sentence(
    pretender: Write, content: str, kind: type[CompressionError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        measure([pretender("bad", content)], "pretender:cpu", FACTORY, processes=1)


def test_an_error_keeps_its_class_and_exit_code(pretender: Write) -> None:
    with pytest.raises(InvalidOption, match="There is no such device") as caught:
        measure([pretender("a", "0.1")], "pretender:cpu", "pretender:Absent")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"threads": 0}, "threads"),
        ({"processes": 0}, "processes"),
        ({"seconds": 0.0}, "seconds"),
        ({"seconds": float("nan")}, "seconds"),
    ],
)
def test_options_are_checked(pretender: Write, change: dict[str, int], words: str) -> None:
    with pytest.raises(InvalidOption, match=f"`{words}` must be"):
        measure([pretender("a", "0.1")], "pretender:cpu", FACTORY, **change)


def test_files_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"none\.sleep: is not a file"):
        measure([tmp_path / "none.sleep"], "pretender:cpu", FACTORY)
    with pytest.raises(InvalidOption, match="at least one file"):
        measure([], "pretender:cpu", FACTORY)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_its_parent(pretender: Write, tmp_path: Path, ending: signal.Signals) -> None:
    path = pretender("long", "0.05")
    code = (
        "from pathlib import Path; from compressor.profiling.timer import measure; "
        f"measure([Path({str(path)!r})], 'pretender:cpu', {FACTORY!r}, seconds=100)"
    )
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ["PYTHONPATH"]])}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE) as parent:
        worker = _await_worker(tmp_path / "journal.txt")
        parent.send_signal(ending)
        parent.wait(timeout=30)
        psutil.wait_procs([worker], timeout=30)
        assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


def _await_worker(path: Path) -> psutil.Process:
    for _ in range(600):
        if path.exists() and "long\n" in path.read_text():
            return psutil.Process(int(path.read_text().split()[1]))
        time.sleep(0.05)
    raise AssertionError("no worker came up")


def test_a_real_runtime(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    import onnx
    from onnx import TensorProto, helper

    value, output = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 64]) for name in ("x", "y"))
    graph = helper.make_graph([helper.make_node("Exp", ["x"], ["y"])], "exp", [value], [output])
    path = tmp_path / "exp.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    factory = "compressor.targets.onnxruntime_cpu:PLUGIN"
    one, other = measure([path, path], "onnxruntime:cpu", factory, processes=2, seconds=0.1, batch_size=3)
    assert one.details["provider"] == "CPUExecutionProvider"
    assert one.sha256 == other.sha256
    assert len(one.samples_s) == len(other.samples_s) > 0
