"""Says what a file is by its content; its name's ending does not count."""

from __future__ import annotations

import difflib
import enum
import zipfile
import zlib
from pathlib import Path

from compressor.core.errors import InvalidOption, ModelFileError

_HEAD_BYTES = 4096
_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the first pickle of torch.save before torch 1.6


class FileKind(enum.Enum):
    """Files that can be read on; the last three hold a program and need no architecture."""

    TORCH_ZIP = "torch.save"
    TORCH_LEGACY = "torch.save, the format before torch 1.6"
    SAFETENSORS = "safetensors"
    ONNX = "ONNX"
    TORCHSCRIPT = "TorchScript"
    EXPORTED_PROGRAM = "torch.export"


def recognise(path: Path) -> FileKind:
    """What kind of model file this is.

    Raises:
        InvalidOption: there is no such file, or it is a folder, or it may not be read.
        ModelFileError: it is something else; the sentence says what, and what to pass instead.
    """
    head = _read_head(path)
    if head.startswith(b"PK\x03\x04"):
        return _recognise_zip(path)
    if head.startswith(_LEGACY_MAGIC):
        return FileKind.TORCH_LEGACY
    if _is_safetensors(head):
        return FileKind.SAFETENSORS
    if _is_onnx(head):
        return FileKind.ONNX
    what, next_step = _other(head, path)
    raise ModelFileError(f"{path}: {what}. {next_step}")


def _read_head(path: Path) -> bytes:
    if path.is_dir():
        raise _folder(path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        names = [entry.name for entry in path.parent.iterdir() if entry.is_file()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
        hint = f"Near it there is: {', '.join(near)}." if near else ""
        if not path.parent.is_dir():
            hint = f"There is no folder '{path.parent}' either."
        raise InvalidOption("loading", "MODEL", "an existing file", str(path), hint) from error
    except OSError as error:
        raise InvalidOption(
            "loading", "MODEL", "a file that can be read", str(path), f"The system says: {error.strerror}."
        ) from error
    if not head:
        raise ModelFileError(f"{path}: the file is empty. Copy or save the model again.")
    return head


def _folder(path: Path) -> InvalidOption:
    hint = "Name the model file in it."
    if (path / "plan.json").exists():
        hint = "It is a run folder: compressor.load reads it; its small model is in model.pt2."
    elif (path / "config.json").exists():
        weights = sorted(entry.name for entry in path.iterdir() if entry.suffix in (".safetensors", ".bin"))
        if weights:
            hint = f"It looks like a transformers model: pass {path / weights[0]} with --arch transformers:{path}."
    elif (path / "saved_model.pb").exists():
        hint = "It is a TensorFlow SavedModel; only PyTorch models can be compressed."
    return InvalidOption("loading", "MODEL", "a file, not a folder", str(path), hint)


def _recognise_zip(path: Path) -> FileKind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ModelFileError(
            f"{path}: a zip archive (as torch.save writes) that is cut short or damaged. Copy it or save it again."
        ) from error
    inner = {name.partition("/")[2] for name in names}  # torch puts all records into one folder
    ends = {Path(name).name for name in names}
    if "constants.pkl" in inner:
        return FileKind.TORCHSCRIPT
    if ends & {"serialized_exported_program.json", "serialized_exported_program.pt"} or any(
        n.endswith("models/model.json") for n in names
    ):
        return FileKind.EXPORTED_PROGRAM
    if "data.pkl" in inner:
        return FileKind.TORCH_ZIP
    if {"config.json", "model.weights.h5"} <= set(names):
        raise ModelFileError(f"{path}: a Keras model. Only PyTorch models can be compressed.")
    if names and all(name.endswith(".npy") for name in names):
        raise ModelFileError(
            f"{path}: NumPy arrays (.npz). Load them into the model and save its state dict with torch.save."
        )
    shown = ", ".join(names[:3]) or "nothing"
    raise ModelFileError(
        f"{path}: a zip archive that is not a model (it holds {shown}). Unpack it and pass the model file in it."
    )


def refuse_damaged_records(path: Path) -> None:
    """Compares the checksums in an archive of torch.save, which torch itself does not look at, with its content.

    Archives that were saved without checksums (torch.serialization.set_crc32_options) pass: in them, none is right.

    Raises:
        ModelFileError: a record was changed after it was written.
    """
    damaged, n_records = [], 0
    with zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            n_records += 1
            try:
                with archive.open(record) as content:
                    while content.read(1 << 20):
                        continue
            except (zipfile.BadZipFile, zlib.error, EOFError):
                damaged.append(record.filename)
    if 0 < len(damaged) < n_records:
        raise ModelFileError(
            f"{path}: damaged: {len(damaged)} of its {n_records} records differ from their checksums ({damaged[0]}). "
            "Copy it or save it again."
        )


def _is_safetensors(head: bytes) -> bool:
    n_header = int.from_bytes(head[:8], "little")
    return (
        head[8:10] == b'{"' and n_header < 100_000_000
    )  # the format's own limit; a cut file has less than its header says


def _other(head: bytes, path: Path) -> tuple[str, str]:
    """What a file that cannot be read on is, and what to do."""
    only_torch = "Only PyTorch models can be compressed."
    pass_module = "Pass the PyTorch model that it was exported from."
    text = head.lstrip().lower()
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the model itself", "Fetch the model with: git lfs pull"
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page, not a model (a download that went to an error or login page?)", "Download the model again."
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "an HDF5 file, as Keras and TensorFlow write", only_torch
    if head.startswith(b"GGUF"):
        return "a GGUF file (llama.cpp)", only_torch
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite model", only_torch
    if text.startswith(b"<?xml") and b"<net" in text:
        return "an OpenVINO model", pass_module
    if (
        head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"\x28\xb5\x2f\xfd"))
        or head[257:262] == b"ustar"
    ):
        return "an archive that is not a model", "Unpack it and pass the model file in it."
    if head[0] == 0x80 and len(head) > 1 and head[1] <= 5:
        return (
            "a plain Python pickle or a damaged torch file, not what torch.save writes",
            "Save it with torch.save(model, ...).",
        )
    if _is_text(head):
        return "a text file, not a model", "Pass the file that torch.save wrote."
    return (
        "not a model file that is known here (its content fits no format)",
        "Pass what torch.save wrote, .safetensors, .onnx, .pt2 or TorchScript.",
    )


def _is_onnx(head: bytes) -> bool:
    """ModelProto starts with its IR version (field 1, a small number), followed by a string or a graph field."""
    return len(head) > 3 and head[0] == 0x08 and 1 <= head[1] <= 20 and head[2] in (0x12, 0x1A, 0x22, 0x3A, 0x42)


def _is_text(head: bytes) -> bool:
    try:
        text = head[:_HEAD_BYTES].decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # not merely a character cut in two at the end
            return False
        text = head[: error.start].decode("utf-8")
    return all(character.isprintable() or character in "\r\n\t" for character in text)
