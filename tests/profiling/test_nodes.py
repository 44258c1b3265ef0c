"""Real runtimes, node by node, in a worker that serves many files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from math import prod
from pathlib import Path

import psutil
import pytest
import torch
from torch import nn

from compressor.core.errors import InvalidOption, ModelFileError, UnsupportedModel
from compressor.core.node_times import NodeProfile, Turns
from compressor.core.serial import from_json, to_json
from compressor.profiling.nodes import NodeProfiler
from compressor.targets import factory_of
from exporters.export import export
from exporters.signature import ExampleInputs

Write = Callable[[str, str], Path]
SUFFIXES = {"onnxruntime:cpu": "onnx", "openvino:cpu": "xml", "torch:cpu": "pt2"}
CONVOLUTIONS = {"onnxruntime:cpu": "Conv", "openvino:cpu": "Convolution", "torch:cpu": "aten::conv2d"}

CRASHER = """
import os
from compressor.targets.onnxruntime_cpu import OnnxRuntimeCpu

class Crasher(OnnxRuntimeCpu):
    def nodes(self, path, batch_size, threads, inferences):
        with (path.parent / "journal.txt").open("a") as journal:
            journal.write(f"{os.getpid()} {path.name}\\n")
        if path.name == "abort.onnx":
            os.abort()
        if path.name == "sleep.onnx":
            import time
            time.sleep(600)
        return super().nodes(path, batch_size, threads, inferences)
"""


class Block(nn.Module):
    """Two convolutions, a residual sum and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv1(x)))
        x = torch.relu(x + self.conv2(x))
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """{suffix: the block as a file}."""
    folder = tmp_path_factory.mktemp("block")
    torch.manual_seed(0)
    model = Block().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = export(model, ExampleInputs.of(torch.randn(1, 3, 16, 16), model), ["onnx", "openvino", "pt2"], folder)
    return {file.path.suffix.removeprefix("."): file.path for file in found}


@pytest.fixture
def crasher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "crasher.py").write_text(CRASHER)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return "crasher:Crasher"


@pytest.mark.parametrize("target", SUFFIXES)
def test_a_real_runtime_tells_its_nodes(target: str, files: dict[str, Path]) -> None:
    with NodeProfiler(target, factory_of(target), batch_size=3) as profiler:
        found = profiler.profile(files[SUFFIXES[target]], inferences=6)
    assert (found.target, found.batch_size, found.threads) == (target, 3, 1)
    assert len(found.whole_s) == 6
    assert all(second > 0 for second in found.whole_s)
    assert len({len(node.seconds) for node in found.nodes}) == 1
    n_samples = len(found.nodes[0].seconds)
    assert 1 <= n_samples <= 4 if target == "openvino:cpu" else n_samples == 6  # OpenVINO's come in blocks
    assert all(second >= 0 for node in found.nodes for second in node.seconds)
    assert any(node.kernel for node in found.nodes)
    convolutions = [node for node in found.nodes if node.operator == CONVOLUTIONS[target]]
    assert [node.inputs[1] for node in convolutions] == [(16, 3, 3, 3), (16, 16, 3, 3)]
    assert [prod(node.outputs[0]) for node in convolutions] == [3 * 16 * 16 * 16] * 2
    inside = sum(sum(node.seconds) / len(node.seconds) for node in found.nodes)
    assert inside > 0
    assert from_json(NodeProfile, to_json(found), "test") == found


@pytest.mark.parametrize("target", SUFFIXES)
def test_two_files_in_turns(target: str, files: dict[str, Path], tmp_path: Path) -> None:
    """Without the profiler; the file may be replaced by another of the same name, the other one stays."""
    reference = files[SUFFIXES[target]]
    place = tmp_path / "copy" / reference.name
    shutil.copytree(reference.parent, place.parent)
    with NodeProfiler(target, factory_of(target), batch_size=2) as profiler:
        found = profiler.turns(place, reference, rounds=3)
        assert len(found.file_s) == len(found.against_s) == 3
        assert all(second > 0 for second in (*found.file_s, *found.against_s)) and found.share > 0
        place.write_bytes(b"no model any more")
        with pytest.raises(ModelFileError):
            profiler.turns(place, reference, rounds=1)
        with pytest.raises(ModelFileError, match=r"none\.onnx: is not a file"):
            profiler.turns(tmp_path / "none.onnx", reference, rounds=1)


def test_a_share_is_of_one_moment() -> None:
    """The machine became three times slower in the second round."""
    assert Turns((1.0, 3.0, 1.0), (2.0, 6.0, 2.0)).share == 0.5


def test_openvino_says_what_a_node_stands_for(files: dict[str, Path]) -> None:
    with NodeProfiler("openvino:cpu", factory_of("openvino:cpu")) as profiler:
        ir, onnx_file = (profiler.profile(files[kind], inferences=2) for kind in ("xml", "onnx"))
    for found in (ir, onnx_file):
        first, second = (node.sources for node in found.nodes if node.operator == "Convolution")
        assert "/Relu" in first
        assert any("/conv2/Conv" in source for source in second)
    assert [node.sources for node in ir.nodes] == [node.sources for node in onnx_file.nodes]


def test_torch_names_the_programs_nodes(files: dict[str, Path]) -> None:
    with NodeProfiler("torch:cpu", factory_of("torch:cpu")) as profiler:
        found = profiler.profile(files["pt2"], inferences=2)
    named = {node.sources: node.operator for node in found.nodes}
    assert named[("conv2d",)] == named[("conv2d_1",)] == "aten::conv2d"
    assert all(len(node.sources) == 1 for node in found.nodes)


def test_one_worker_serves_many_files(files: dict[str, Path], crasher: str) -> None:
    with NodeProfiler("crasher", crasher) as profiler:
        for _ in range(3):
            profiler.profile(files["onnx"], inferences=1)
    journal = (files["onnx"].parent / "journal.txt").read_text().splitlines()
    assert len(journal) == 3
    assert len({line.split()[0] for line in journal}) == 1
    assert not psutil.pid_exists(int(journal[0].split()[0]))


def test_a_crash_becomes_a_sentence_and_the_next_file_gets_a_new_worker(
    files: dict[str, Path], crasher: str, tmp_path: Path
) -> None:
    abort = tmp_path / "abort.onnx"
    abort.write_bytes(files["onnx"].read_bytes())
    with NodeProfiler("crasher:cpu", crasher) as profiler:
        with pytest.raises(UnsupportedModel, match=r"crasher:cpu: profiling abort\.onnx failed: .* SIGABRT"):
            profiler.profile(abort)
        assert profiler.profile(files["onnx"], inferences=1).nodes


def test_a_file_that_is_no_model_does_not_end_the_worker(files: dict[str, Path], tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish.onnx"
    rubbish.write_bytes(b"rubbish")
    with NodeProfiler("onnxruntime:cpu", factory_of("onnxruntime:cpu")) as profiler:
        with pytest.raises(ModelFileError, match="cannot load it"):
            profiler.profile(rubbish)
        with pytest.raises(InvalidOption, match=r"onnxruntime:cpu: `file` must be"):
            profiler.profile(files["pt2"])
        assert profiler.profile(files["onnx"], inferences=1).nodes


def test_options_are_checked(files: dict[str, Path], tmp_path: Path) -> None:
    factory = factory_of("onnxruntime:cpu")
    with pytest.raises(InvalidOption, match="`threads` must be"):
        NodeProfiler("onnxruntime:cpu", factory, threads=0)
    with NodeProfiler("onnxruntime:cpu", factory) as profiler:
        with pytest.raises(InvalidOption, match="`inferences` must be"):
            profiler.profile(files["onnx"], inferences=0)
        with pytest.raises(ModelFileError, match="is not a file"):
            profiler.profile(tmp_path / "none.onnx")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_its_parent(
    files: dict[str, Path], crasher: str, tmp_path: Path, ending: signal.Signals
) -> None:
    path = tmp_path / "sleep.onnx"
    path.write_bytes(files["onnx"].read_bytes())
    code = (
        "from pathlib import Path; from compressor.profiling.nodes import NodeProfiler\n"
        f"with NodeProfiler('crasher', {crasher!r}) as profiler: profiler.profile(Path({str(path)!r}))"
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
    for _ in range(1200):
        if path.exists() and "sleep" in path.read_text():
            return psutil.Process(int(path.read_text().split()[0]))
        time.sleep(0.05)
    raise AssertionError("no worker came up")
