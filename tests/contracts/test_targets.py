"""What every target promises, whoever wrote it."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from compressor.core.errors import CompressionError
from compressor.targets import factory_of, load_target, target_names

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.parametrize("name", target_names())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """{suffix: a file of (batch, 4) in and (batch, 4) out}."""
    folder = tmp_path_factory.mktemp("files")
    value, output = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("x", "y"))
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", [value], [output])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "relu.onnx")
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(torch.nn.ReLU(), (torch.randn(2, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(program, folder / "relu.pt2")
    return {".onnx": folder / "relu.onnx", ".pt2": folder / "relu.pt2"}


def test_the_name_is_the_files(name: str) -> None:
    assert load_target(name).name == name
    module, _, attribute = factory_of(name).partition(":")
    assert module.rpartition(".")[2] == name.replace(":", "_")
    assert attribute == "PLUGIN"


def test_it_is_a_frozen_dataclass_with_defaults(name: str) -> None:
    target = load_target(name)()
    assert dataclasses.is_dataclass(target)
    with pytest.raises(dataclasses.FrozenInstanceError):
        target.shapes = {}


def test_it_says_what_it_accepts(name: str) -> None:
    accepts = load_target(name).accepts
    assert accepts
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in accepts)


def test_unavailable_is_empty_or_a_sentence(name: str) -> None:
    reason = load_target(name)().unavailable()
    assert reason == "" or (reason[0].isupper() and " " in reason and "\n" not in reason)


def test_it_runs_what_it_accepts_and_describes_it(name: str, files: dict[str, Path]) -> None:
    target = load_target(name)()
    if target.unavailable():
        pytest.skip(target.unavailable())
    path = next(files[suffix] for suffix in target.accepts if suffix in files)
    run = target.runner(path, 2, 1)
    assert run() is None
    assert run() is None
    facts = target.describe()
    assert facts["runtime"]
    assert all(isinstance(key, str) and isinstance(value, str) for key, value in facts.items())


def test_the_first_file_finds_everything_loaded(name: str, files: dict[str, Path]) -> None:
    """After `prepare`, a file whose operator it ran brings no module into the process."""
    target = load_target(name)()
    if target.unavailable():
        pytest.skip(target.unavailable())
    path = next(files[suffix] for suffix in target.accepts if suffix in files)
    code = (
        "import sys; from pathlib import Path; from compressor.targets import load_target\n"
        f"target = load_target({name!r})(); target.prepare(); before = set(sys.modules)\n"
        f"target.runner(Path({str(path)!r}), 2, 1)()\n"
        "packages = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*(packages & {'torch', 'onnxruntime', 'openvino', 'numpy', 'networkx'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_rubbish_gets_an_error_of_ours(name: str, tmp_path: Path) -> None:
    target = load_target(name)()
    if target.unavailable():
        pytest.skip(target.unavailable())
    path = tmp_path / f"rubbish{target.accepts[0]}"
    path.write_bytes(b"rubbish")
    with pytest.raises(CompressionError, match="rubbish"):
        target.runner(path, 1, 1)
