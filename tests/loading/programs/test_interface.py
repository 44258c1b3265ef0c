"""What a file says beside its weights survives the way back into a file: names, axes that vary, its author's notes."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch

from compressor.loading.model_file import load_model
from exporters.export import export
from exporters.program import load_program
from exporters.quiet import quietly
from exporters.verify import verify
from tests.loading.programs.networks import IMAGE, network


def axes_of(value: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def with_metadata(path: Path, metadata: dict[str, str]) -> Path:
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, str(path))
    return path


@pytest.fixture
def segmenter(write: Callable[..., Path]) -> Path:
    """Batch, height and width vary; names that are no Python names; two properties."""
    module, _ = network("unet")
    path = write(
        "onnx",
        module,
        (torch.randn(2, 3, 32, 48),),
        input_names=["input.image"],
        output_names=["mask:0"],
        dynamic_axes={"input.image": {0: "n", 2: "height", 3: "width"}, "mask:0": {0: "n", 2: "h2", 3: "w2"}},
    )
    return with_metadata(path, {"author": "someone", "classes": "road, sky"})


def test_an_onnx_file_and_back(segmenter: Path, tmp_path: Path) -> None:
    loaded = load_model(segmenter, inputs=["1x3x32x48"])
    interface = loaded.inputs.interface
    assert loaded.inputs.names == ("input.image",) and loaded.inputs.tensors[0].shape == (1, 3, 32, 48)
    assert interface.output_names == ("mask:0",)
    assert interface.dynamic_axes == ({0: "n", 2: "height", 3: "width"},)
    assert interface.metadata == {"author": "someone", "classes": "road, sky"}

    files = export(loaded.module, loaded.inputs, ["onnx", "pt2"], tmp_path / "out")
    again = onnx.load(str(files[0].path))
    assert axes_of(again.graph.input[0]) == ["n", 3, "height", "width"]
    assert [value.name for value in again.graph.input] == ["input.image"]
    assert [value.name for value in again.graph.output] == ["mask:0"]
    assert {item.key: item.value for item in again.metadata_props} == interface.metadata
    for file in files:
        outcome = verify(file, loaded.module, loaded.inputs, batch_sizes=(1, 3))
        assert outcome.passed, outcome.failure
        assert "random, other sizes" in {check.inputs for check in outcome.checks}


def test_a_program_of_ours_keeps_everything(segmenter: Path, tmp_path: Path) -> None:
    """ONNX -> module -> .pt2 -> module: still the same names, axes and properties."""
    first = load_model(segmenter, inputs=["1x3x32x48"])
    (file,) = export(first.module, first.inputs, ["pt2"], tmp_path / "out")
    assert load_program(file.path)[1].names == ("input.image",)
    second = load_model(file.path, inputs=["1x3x32x48"])
    assert second.inputs.names == first.inputs.names
    assert second.inputs.interface == first.inputs.interface
    assert second.module.state_dict().keys() == first.module.state_dict().keys()


def test_a_dictionary_of_outputs(write: Callable[..., Path], tmp_path: Path) -> None:
    module, inputs = network("named")
    loaded = load_model(write("pt2", module, inputs))
    assert set(loaded.module(*inputs)) == {"boxes", "scores"}
    (file,) = export(loaded.module, loaded.inputs, ["onnx"], tmp_path / "out")
    assert file.output_names == ("boxes", "scores")


def test_two_inputs_and_outputs(write: Callable[..., Path], tmp_path: Path) -> None:
    module, inputs = network("two_inputs")
    names = {"input_names": ["left", "right"], "output_names": ["difference", "product"]}
    axes = {name: {0: "pairs"} for name in ("left", "right", "difference", "product")}
    loaded = load_model(write("onnx", module, inputs, dynamic_axes=axes, **names))
    (file,) = export(loaded.module, loaded.inputs, ["onnx"], tmp_path / "out")
    assert file.input_names == ("left", "right") and file.output_names == ("difference", "product")
    graph = onnx.load(str(file.path)).graph
    assert [axes_of(value)[0] for value in (*graph.input, *graph.output)] == ["pairs"] * 4


def test_a_fixed_batch_stays_fixed_in_files(write: Callable[..., Path], tmp_path: Path) -> None:
    module, inputs = network("patches")
    loaded = load_model(write("onnx", module, (inputs[0][:1],), dynamic=False))
    assert loaded.module(torch.randn(3, *IMAGE[1:])).shape == (3, 5)  # trained with any batch all the same
    (file,) = export(loaded.module, loaded.inputs, ["onnx"], tmp_path / "out")
    assert not file.dynamic_batch
    assert axes_of(onnx.load(str(file.path)).graph.input[0]) == [1, 3, 16, 16]
    assert verify(file, loaded.module, loaded.inputs).passed


def test_texts_saved_with_a_program(tmp_path: Path) -> None:
    module, inputs = network("dense")
    program = torch.export.export(module, inputs)
    torch.export.save(program, tmp_path / "model.pt2", extra_files={"labels.txt": "cat, dog"})
    loaded = load_model(tmp_path / "model.pt2")
    assert loaded.inputs.interface.metadata == {"labels.txt": "cat, dog"}
    (file,) = export(loaded.module, loaded.inputs, ["pt2"], tmp_path / "out")
    with zipfile.ZipFile(file.path) as archive:
        names = json.loads(archive.read(next(name for name in archive.namelist() if name.endswith("names.json"))))
    assert names["metadata"] == {"labels.txt": "cat, dog"}


def test_texts_saved_with_a_script(tmp_path: Path) -> None:
    module, inputs = network("dense")
    path = tmp_path / "model.pt"
    with quietly():
        torch.jit.save(torch.jit.trace(module, inputs), str(path), _extra_files={"note": "trained on Tuesday"})
    assert load_model(path, inputs=["1x6"]).inputs.interface.metadata == {"note": "trained on Tuesday"}


def test_axes_that_vary_in_name_only_are_fixed_with_a_note(write: Callable[..., Path]) -> None:
    """The file calls height and width variable, but its classifier fits one size."""
    module, inputs = network("flatten")
    path = write("onnx", module, inputs, dynamic_axes={"in.0": {0: "n", 2: "h", 3: "w"}})
    notes: list[str] = []
    loaded = load_model(path, inputs=["1x3x16x16"], note=notes.append)
    assert loaded.inputs.interface.dynamic_axes == ({0: "n"},)
    assert len(notes) == 1 and "axis 2 of 'in.0' was fixed at 16, axis 3" in notes[0]
