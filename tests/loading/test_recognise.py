from __future__ import annotations

import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compressor.core.errors import CompressionError, InvalidOption, ModelFileError
from compressor.loading.recognise import FileKind, recognise, refuse_damaged_records


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.pt"), io.BytesIO(b""))
    return buffer.getvalue()


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.ones(2))
    return buffer.getvalue()


def test_model_files(save: Callable[..., Path], tmp_path: Path) -> None:
    tensors = {"w": torch.ones(2, 2)}
    assert recognise(save(tensors)) is FileKind.TORCH_ZIP
    assert recognise(save(tensors, _use_new_zipfile_serialization=False)) is FileKind.TORCH_LEGACY
    safetensors.torch.save_file(tensors, tmp_path / "any.name")
    assert recognise(tmp_path / "any.name") is FileKind.SAFETENSORS


FOREIGN = {
    "empty": (b"", "is empty"),
    "lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git lfs pull"),
    "web page": (b"\n<!DOCTYPE html><html><body>404</body></html>", "web page"),
    "text": ("# my model\nlöss: 0.1\n".encode(), "text file"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(50), "Keras"),
    "gguf": (b"GGUF\x03\x00\x00\x00" + bytes(50), "GGUF"),
    "tflite": (b"\x1c\x00\x00\x00TFL3" + bytes(50), "TensorFlow Lite"),
    "openvino": (b'<?xml version="1.0"?>\n<net name="n" version="11">', "OpenVINO"),
    "tar": (tarred(), "Unpack"),
    "gzip": (b"\x1f\x8b\x08" + bytes(20), "Unpack"),
    "zip of papers": (zipped("a.txt", "b/c.txt"), "not a model"),
    "empty zip": (b"PK\x05\x06" + bytes(18), "not a model file"),
    "keras": (zipped("config.json", "metadata.json", "model.weights.h5"), "Keras"),
    "npz": (npz(), "NumPy"),
    "truncated zip": (zipped("a.txt" * 20)[:40], "cut short"),
    "plain pickle": (pickle.dumps({"a": 1}), "plain Python pickle"),
    "random bytes": (bytes(np.random.default_rng(0).integers(128, 256, 4096, dtype=np.uint8)), "not a model file"),
    "zeros": (bytes(4096), "not a model file"),
}


@pytest.mark.parametrize("case", sorted(FOREIGN))
def test_foreign_files_are_named(case: str, tmp_path: Path) -> None:
    content, said = FOREIGN[case]
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=said) as caught:
        recognise(path)
    assert caught.value.exit_code == 4 and str(caught.value).startswith(str(path))


def test_programs(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    module, path = nn.Sequential(nn.Linear(2, 2)), tmp_path / "any.name"
    torch.export.save(torch.export.export(module, (torch.ones(1, 2),)), tmp_path / "model.pt2")
    (tmp_path / "model.pt2").rename(path)
    assert recognise(path) is FileKind.EXPORTED_PROGRAM
    path.write_bytes(zipped("m/data.pkl", "m/constants.pkl", "m/code/x.py", "m/version"))
    assert recognise(path) is FileKind.TORCHSCRIPT
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [out])
    path.write_bytes(helper.make_model(graph).SerializeToString())
    assert recognise(path) is FileKind.ONNX


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_real_torchscript_archive(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), str(tmp_path / "model.pt"))
    assert recognise(tmp_path / "model.pt") is FileKind.TORCHSCRIPT


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "resnet18.pt").write_bytes(b"x")
    with pytest.raises(InvalidOption, match=r"resnet18\.pt") as caught:
        recognise(tmp_path / "resnt18.pt")
    assert caught.value.exit_code == 2
    with pytest.raises(InvalidOption, match="no folder"):
        recognise(tmp_path / "nowhere" / "model.pt")


def test_folders_say_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="not a folder"):
        recognise(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(InvalidOption, match="--arch transformers:"):
        recognise(tmp_path)
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(InvalidOption, match="run folder"):
        recognise(tmp_path)


@given(st.binary(max_size=300))
def test_any_bytes_give_a_kind_or_a_sentence(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(data)
    try:
        assert isinstance(recognise(path), FileKind)
    except CompressionError as error:
        assert str(error).startswith(str(path))


def test_changed_weights_are_found(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"weight": torch.ones(1000)}, path)
    refuse_damaged_records(path)
    content = bytearray(path.read_bytes())
    content[content.find(torch.ones(8).numpy().tobytes()) + 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"1 of its \d+ records differ from their checksums \(model/data/0\)"):
        refuse_damaged_records(path)


def test_archives_without_checksums_pass(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"weight": torch.ones(1000)}, tmp_path / "model.pt")
    finally:
        torch.serialization.set_crc32_options(before)
    refuse_damaged_records(tmp_path / "model.pt")
