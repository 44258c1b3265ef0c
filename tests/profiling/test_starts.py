"""Files started alone in fresh processes: what is told apart, what is left to the runtime, and real runtimes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compressor.core.errors import InvalidOption, ModelFileError, UnsupportedModel
from compressor.core.serial import from_json, to_json
from compressor.core.startup import EnergySample, Start, Startup
from compressor.profiling import starts
from compressor.profiling.starts import start_files
from tests.profiling.test_energy import counter

Write = Callable[[str, str], Path]
FACTORY = "pretender:Pretender"
MIB = 1 << 20
needs_kernel = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's peak per program is Linux's")


def start(*files: Path, **options: object) -> list[Startup]:
    return start_files(files, [1] * len(files), "pretender:cpu", FACTORY, **options)  # type: ignore[arg-type]


def test_every_start_is_a_process_that_holds_one_file(pretender: Write, tmp_path: Path) -> None:
    a, b = pretender("a", "0.001"), pretender("b", "0.001")
    one, other = start(a, b, threads=2, batch_size=3, shapes={"x": [3, 4]}, powercap=tmp_path / "none")
    assert (one.path, other.path) == (a, b)
    assert (one.threads, one.batch_size, one.target) == (2, 3, "pretender:cpu")
    assert len(one.starts) == len(other.starts) == 3
    lines = (tmp_path / "journal.txt").read_text().splitlines()
    assert [line for line in lines if line.startswith("load")] == [
        "load a 3 2 {'x': [3, 4]}",
        "load b 3 2 {'x': [3, 4]}",
    ] * 3
    assert len({line for line in lines if line.startswith("pid")}) == 6
    for found in one.starts:
        assert found.load_s > 0 and found.runtime_s > 0 and found.first_s >= 0.001
        assert found.energy is None


@needs_kernel
def test_memory_is_the_files_own(pretender: Write) -> None:
    small, large = start(pretender("small", "0"), pretender("large", "0 holds 64"))
    assert small.memory_bytes is not None and large.memory_bytes is not None
    assert small.memory_bytes < 8 * MIB  # the runtime's own 8 MiB are not in it
    assert 63 * MIB <= large.memory_bytes < 72 * MIB  # the kernel counts resident pages in bundles
    assert small.runtime_bytes is not None and large.runtime_bytes is not None
    assert abs(small.runtime_bytes - large.runtime_bytes) < 4 * MIB


def test_energy_per_inference(pretender: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A counter that moves by 1 mJ with every inference, and begins again every 5 J."""
    folder = counter(tmp_path / "powercap", "intel-rapl:0", "package-0", 4_990_000, 5_000_000)
    monkeypatch.setenv("PRETENDED_COUNTER", str(folder / "energy_uj"))
    (found,) = start(pretender("a", "0.005"), starts=2, powercap=tmp_path / "powercap")
    assert found.energy_j == pytest.approx(1e-3)
    for one in found.starts:
        assert one.energy is not None
        assert one.energy.zones == ("package-0",) and one.energy.n_inferences > 10


def test_the_processors_counters_are_not_a_gpus(pretender: Write, tmp_path: Path) -> None:
    counter(tmp_path / "powercap", "intel-rapl:0", "package-0", 1)
    file = pretender("a", "0")
    (found,) = start_files([file], [1], "pretender:cuda", FACTORY, starts=1, powercap=tmp_path / "powercap")
    assert found.energy_j is None


def test_a_file_that_starts_slowly_is_started_once(pretender: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starts, "MAX_SECONDS", 0.0)
    (found,) = start(pretender("a", "0"))
    assert len(found.starts) == 1


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        ("refuse", UnsupportedModel, r"^pretender:cpu: refuses\. Do something else\.$"),
        ("abort", UnsupportedModel, r"starting bad\.sleep failed: the process was ended by SIGABRT"),
        ("raise", UnsupportedModel, r"starting bad\.sleep failed: last line"),
    ],
)
def test_a_start_that_fails_says_so(pretender: Write, content: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        start(pretender("bad", content))


def test_figures_are_medians_and_survive_saving() -> None:
    energy = EnergySample(2.0, 100, 0.5, ("package-0",))
    made = tuple(Start(0.1, load, 3 * load, 10, peak, energy) for load, peak in ((1.0, 30), (9.0, 90), (2.0, 40)))
    found = Startup("t", Path("a.onnx"), 1, 1, 5, made)
    assert (found.load_s, found.first_s, found.memory_bytes, found.runtime_bytes) == (2.0, 6.0, 30, 10)
    assert found.energy_j == pytest.approx(0.02)
    assert from_json(Startup, to_json(found), "test") == found
    untold = Startup("t", Path("a.onnx"), 1, 1, 5, (Start(0.1, 1.0, 1.0, None, None),))
    assert (untold.memory_bytes, untold.runtime_bytes, untold.energy_j) == (None, None, None)


def matmul(path: Path, width: int, batch: str | int = "batch") -> Path:
    """(batch, width) times a square matrix of random numbers."""
    weights = np.random.default_rng(0).standard_normal((width, width)).astype(np.float32)
    value, output = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, width]) for name in ("x", "y"))
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "product", [value], [output], [numpy_helper.from_array(weights, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@needs_kernel
@pytest.mark.parametrize("target", ["onnxruntime:cpu", "openvino:cpu"])
def test_real_runtimes(tmp_path: Path, target: str) -> None:
    """A matrix of 36 MiB is found in memory; the runtime itself is not taken for the file."""
    files = matmul(tmp_path / "small.onnx", 8), matmul(tmp_path / "large.onnx", 3072)
    factory = f"compressor.targets.{target.replace(':', '_')}:PLUGIN"
    small, large = start_files(files, [1, 1], target, factory, starts=1)
    assert small.memory_bytes is not None and large.memory_bytes is not None and large.runtime_bytes is not None
    assert large.memory_bytes - small.memory_bytes >= 34 * MIB
    assert small.memory_bytes < 16 * MIB < large.runtime_bytes


def test_what_a_runtime_refuses_is_known_after_one_start(tmp_path: Path) -> None:
    target = "onnxruntime:cpu", "compressor.targets.onnxruntime_cpu:PLUGIN"
    with pytest.raises(InvalidOption, match="`batch_size` must be 1, which the file fixes, but got 8"):
        start_files([matmul(tmp_path / "fixed.onnx", 8, 1)], [1], *target, batch_size=8)
    (tmp_path / "bad.onnx").write_text("rubbish")
    with pytest.raises(ModelFileError, match=r"bad\.onnx"):
        start_files([tmp_path / "bad.onnx"], [1], *target)
