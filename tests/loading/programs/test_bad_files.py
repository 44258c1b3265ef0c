"""Damaged and hostile files: one sentence each, the exit code of bad model files, and nothing is run or read."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from compressor.core.errors import CompressionError, ModelFileError, UnsupportedModel
from compressor.loading.model_file import load_model
from compressor.loading.programs.aten.registry import apply
from compressor.loading.programs.builder import Builder
from tests.loading.programs.conftest import shapes_of
from tests.loading.programs.networks import network


def refused(path: Path, said: str, inputs: tuple[str, ...] = ()) -> CompressionError:
    with pytest.raises((ModelFileError, UnsupportedModel), match=said) as caught:
        load_model(path, inputs=inputs)
    sentence = str(caught.value)
    assert caught.value.exit_code == 4
    assert str(path) in sentence and "\n" not in sentence and sentence.endswith(".")
    return caught.value


def graph_of(
    *nodes: onnx.NodeProto, weights: tuple[TensorProto, ...] = (), shape: tuple[Any, ...] = ("n", 4)
) -> onnx.ModelProto:
    """A model with the input x and the output y, float32."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(list(nodes), "graph", [x], [y], list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


# Damaged


@pytest.mark.parametrize("form", ["pt2", "trace", "onnx"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_files_that_are_cut_short(form: str, share: float, write: Callable[..., Path]) -> None:
    module, inputs = network("dense")
    path = write(form, module, inputs)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refused(path, "damaged|cut short", tuple(shapes_of(inputs)))


@pytest.mark.parametrize("form", ["pt2", "trace", "onnx"])
def test_the_ending_of_the_name_does_not_count(form: str, write: Callable[..., Path]) -> None:
    module, inputs = network("dense")
    path = write(form, module, inputs)
    other = path.with_name("model.txt")
    path.rename(other)
    assert load_model(other, inputs=shapes_of(inputs)).module(*inputs).shape == (2, 3)


@pytest.mark.parametrize("form", ["pt2", "trace"])
def test_records_that_were_changed(form: str, write: Callable[..., Path]) -> None:
    module, inputs = network("dense")
    path = write(form, module, inputs)
    weight = next(iter(module.parameters())).detach().numpy().tobytes()
    content = path.read_bytes()
    assert weight in content
    path.write_bytes(content.replace(weight, bytes(len(weight))))
    refused(path, "differ from their checksums", tuple(shapes_of(inputs)))


def test_an_onnx_file_without_operators(tmp_path: Path) -> None:
    refused(saved(graph_of(), tmp_path), "without operators")


def test_a_weight_that_has_not_its_size(tmp_path: Path) -> None:
    """The declared shape would be 4 TB."""
    weight = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    weight.dims[0] = 1 << 40
    model = graph_of(helper.make_node("MatMul", ["x", "w"], ["y"]), weights=(weight,))
    refused(saved(model, tmp_path), "'w' has not the size that its shape says")


def test_a_name_that_nobody_makes(tmp_path: Path) -> None:
    model = graph_of(helper.make_node("Add", ["x", "ghost"], ["y"], name="adding"))
    refused(saved(model, tmp_path), r"operator Add \(node 'adding'\): its input 'ghost' is made by no operator")


# Weights beside the file


@pytest.fixture
def beside(tmp_path: Path) -> tuple[Path, onnx.ModelProto, Path]:
    """A file whose weight lies beside it, in the same folder."""
    folder = tmp_path / "model"
    folder.mkdir()
    weight = numpy_helper.from_array(np.arange(16, dtype=np.float32).reshape(4, 4), "w")
    model = graph_of(helper.make_node("MatMul", ["x", "w"], ["y"]), weights=(weight,))
    onnx.save(model, str(folder / "model.onnx"), save_as_external_data=True, location="weights.bin", size_threshold=0)
    return (
        folder / "model.onnx",
        onnx.load(str(folder / "model.onnx"), load_external_data=False),
        folder / "weights.bin",
    )


def relocated(model: onnx.ModelProto, path: Path, **facts: str) -> None:
    for entry in model.graph.initializer[0].external_data:
        entry.value = facts.get(entry.key, entry.value)
    path.write_bytes(model.SerializeToString())


def test_weights_beside_the_file_are_read(beside: tuple[Path, onnx.ModelProto, Path]) -> None:
    module = load_model(beside[0]).module
    assert torch.equal(module(torch.eye(4)), torch.arange(16.0).reshape(4, 4))


def test_weights_that_are_missing(beside: tuple[Path, onnx.ModelProto, Path]) -> None:
    beside[2].unlink()
    refused(beside[0], r"its weights are in the file 'weights\.bin', which is not beside it")


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "a/../../secret.bin", "..\\secret.bin", ""])
def test_weights_outside_of_the_folder_are_not_read(
    location: str, beside: tuple[Path, onnx.ModelProto, Path], tmp_path: Path
) -> None:
    path, model, weights = beside
    shutil.copy(weights, tmp_path / "secret.bin")
    relocated(model, path, location=location)
    refused(path, "outside of the model's folder, and was not read")


def test_a_link_out_of_the_folder_is_not_followed(beside: tuple[Path, onnx.ModelProto, Path], tmp_path: Path) -> None:
    path, _, weights = beside
    weights.rename(tmp_path / "secret.bin")
    weights.symlink_to(tmp_path / "secret.bin")
    refused(path, "outside of the model's folder")


@pytest.mark.parametrize(
    ("facts", "said"),
    [({"offset": "1000"}, "ends before"), ({"length": "8"}, "not the size"), ({"offset": "many"}, "no number")],
)
def test_weights_at_a_place_that_is_not_there(
    facts: dict[str, str], said: str, beside: tuple[Path, onnx.ModelProto, Path]
) -> None:
    path, model, _ = beside
    for key, value in facts.items():
        entry = model.graph.initializer[0].external_data.add()
        entry.key, entry.value = key, value
    relocated(model, path, **facts)
    refused(path, said)


# More than any memory


def test_inputs_of_absurd_size(tmp_path: Path) -> None:
    model = graph_of(helper.make_node("Relu", ["x"], ["y"]), shape=(1, 3, 1_000_000, 1_000_000))
    refused(saved(model, tmp_path), "input 'x' of shape 1x3x1000000x1000000|larger than a gigabyte")


@pytest.mark.parametrize("operator", ["ConstantOfShape", "Expand", "Tile", "Pad", "Resize"])
def test_operators_that_ask_for_absurd_memory(operator: str, tmp_path: Path) -> None:
    def numbers(*values: int) -> TensorProto:
        return numpy_helper.from_array(np.array(values, np.int64), "sizes")

    huge = 1 << 40
    weights: tuple[TensorProto, ...] = (numbers(huge, 1),)
    nodes = [helper.make_node(operator, ["x", "sizes"], ["z"])]
    if operator == "ConstantOfShape":
        nodes = [helper.make_node(operator, ["sizes"], ["z"])]
    if operator == "Expand":
        weights = (numbers(huge, 1, 4),)
    if operator == "Pad":
        weights = (numbers(0, huge, 0, 0),)
    if operator == "Resize":
        scales = numpy_helper.from_array(np.array([1, 1, 1e12, 1], np.float32), "scales")
        nodes, weights = [helper.make_node(operator, ["x", "", "scales"], ["z"], mode="nearest")], (scales,)
    nodes.append(helper.make_node("Mul", ["z", "x"], ["y"]))
    shape = ("n", 1, 2, 2) if operator == "Resize" else ("n", 4)
    refused(saved(graph_of(*nodes, weights=weights, shape=shape), tmp_path), "too large for any memory")


# What is not covered


def test_operators_without_a_counterpart_are_named_together(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"], name="first"),
        helper.make_node("Attention", ["q"], ["y"], name="second", domain="com.microsoft"),
    ]
    scale = numpy_helper.from_array(np.array(0.1, np.float32), "s")
    path = saved(graph_of(*nodes, weights=(scale,)), tmp_path)
    refused(
        path, r"QuantizeLinear \(node 'first'\), com\.microsoft\.Attention \(node 'second'\).*Pass the PyTorch module"
    )


def test_half_precision(tmp_path: Path) -> None:
    model = graph_of(helper.make_node("Relu", ["x"], ["y"]))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    refused(saved(model, tmp_path), "its input 'x' is float16. Export the model in float32")


class Counting(nn.Module):
    """Keeps a number from call to call."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        return x * self.calls


def test_a_state_from_call_to_call(write: Callable[..., Path]) -> None:
    path = write("pt2", Counting(), (torch.randn(2, 4),))
    refused(path, "changes 'calls' while it runs")


class Deciding(nn.Module):
    """Goes one way or the other."""

    def forward(self, x: Tensor) -> Tensor:
        if bool(x.sum() > 0):
            return x * 2
        return x - 1


def test_branches_that_depend_on_data(write: Callable[..., Path]) -> None:
    path = write("script", Deciding(), (torch.randn(2, 4),))
    refused(path, "known only when it runs", ("2x4",))


# Code


class Writer(nn.Module):
    """Would leave a file behind when it runs."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: Tensor) -> Tensor:
        torch.save([x], self.path)
        return x


class Reader(nn.Module):
    """Would read (or make) a file when it runs."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.from_file(self.path, shared=True, size=4)


class Waking(nn.Module):
    """Runs code while it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, bool]:
        return self.linear.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, bool]) -> None:
        self.training = state[1]

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize("kind", [Writer, Reader])
def test_scripts_that_touch_files_are_not_opened(
    kind: type[nn.Module], write: Callable[..., Path], tmp_path: Path
) -> None:
    sentinel = tmp_path / "it_ran"
    path = write("script", kind(str(sentinel)), (torch.randn(2, 4),))
    refused(path, "could run code or touch files, and was not opened", ("2x4",))
    assert not sentinel.exists()


def test_scripts_that_run_while_they_are_read_are_not_opened(write: Callable[..., Path]) -> None:
    path = write("script", Waking(), (torch.randn(2, 4),))
    refused(path, "__setstate__", ("2x4",))


def test_operators_that_touch_files_are_not_run(tmp_path: Path) -> None:
    build = Builder(1)
    with pytest.raises(UnsupportedModel, match="reads or writes files, and was not run"):
        apply(build, torch.ops.aten.from_file.default, (str(tmp_path / "it_ran"), True, 4), {})
    assert not (tmp_path / "it_ran").exists()


def test_operators_of_other_packages_are_not_run() -> None:
    with pytest.raises(UnsupportedModel, match="belongs to another package"):
        apply(Builder(1), torch.ops.profiler._record_function_enter_new.default, ("name",), {})


def test_functions_that_are_no_operators_are_not_run(write: Callable[..., Path], tmp_path: Path) -> None:
    """A program names its operators as text; here one is changed into a function of Python."""
    path = write("pt2", *network("dense"))
    changed = path.with_name("changed.pt2")
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(changed, "w") as other:
        for record in archive.infolist():
            content = archive.read(record)
            if record.filename.endswith(".json"):
                content = content.replace(b"torch.ops.aten.relu.default", b"torch.hub.load_state_dict_from_url")
            other.writestr(record.filename, content)
    refused(changed, "is not an allowed operator|was not run")
