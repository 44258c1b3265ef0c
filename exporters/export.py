"""A module becomes files."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from exporters.discovery import available_formats, format_class, require_installed
from exporters.errors import InvalidExportOption
from exporters.files import describe_file
from exporters.format import Format
from exporters.signature import ExampleInputs
from exporters.source import Source, prepared
from exporters.types import ExportedFile

__all__ = ["available_formats", "export"]

_DISK_FULL_BYTES = 1 << 20


def export(
    module: nn.Module,
    inputs: ExampleInputs | Tensor | Sequence[Tensor] | Mapping[str, Tensor],
    formats: Sequence[str],
    folder: Path,
    stem: str = "model",
    *,
    opset: int | None = None,
    simplify: bool = True,
    note: Callable[[str], None] = lambda sentence: None,
) -> list[ExportedFile]:
    """Writes `module` as `folder/stem.*` in each of `formats`, in their order; nothing is verified here.

    The module is left as it was (mode, device, weights). A file appears under its name only when it is whole.

    Args:
        module: in any mode, on any device.
        inputs: what it is called with; axis 0 of every tensor is the batch. Any batch size will do.
        formats: names as `available_formats` lists them.
        folder: where the files go; made if need be.
        stem: the files' name without suffix.
        opset: of ONNX files; None: the installed torch's default.
        simplify: let onnxsim simplify ONNX files.
        note: gets one line as each step begins.

    Raises:
        InvalidExportOption: a format or option is unknown, or the module does not accept the inputs.
        MissingRuntime: a format's package is not installed.
        UnsupportedOperator: a format cannot express the model.
        OSError: the folder cannot be written, or the disk is full.
    """
    wanted = list(dict.fromkeys(formats))
    if not wanted:
        raise InvalidExportOption("export: `formats` must be one or more, but got none. `compress formats` lists them.")
    options = {"opset": opset, "simplify": simplify}
    plugins = {name: _make(name, options) for name in _with_parents(wanted)}
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, ExportedFile] = {}
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix=f".{stem}-") as temporary,
        prepared(module, ExampleInputs.of(inputs, module)) as source,
    ):
        for name, plugin in plugins.items():
            note(f"writing {stem}{plugin.suffix}")
            room = Path(temporary) / name
            room.mkdir()
            made = _write(plugin, source, room / f"{stem}{plugin.suffix}", files.get(plugin.made_from or ""))
            files[name] = _move(made, folder) if name in wanted else made
    return [files[name] for name in wanted]


def _with_parents(wanted: Sequence[str]) -> list[str]:
    """`wanted` with the formats that they are made from, those first; refuses what is unknown or not installed."""
    ordered: list[str] = []
    for name in wanted:
        lineage: list[str] = []
        link: str | None = name
        while link is not None:
            plugin = format_class(link)
            require_installed(plugin)
            lineage.insert(0, link)
            link = plugin.made_from
        ordered += lineage
    return list(dict.fromkeys(ordered))


def _make(name: str, options: Mapping[str, Any]) -> Format:
    plugin = format_class(name)
    fields = {field.name for field in dataclasses.fields(plugin)}  # type: ignore[arg-type]
    return plugin(**{option: value for option, value in options.items() if option in fields})


def _write(plugin: Format, source: Source, path: Path, parent: ExportedFile | None) -> ExportedFile:
    try:
        written = plugin.write(source, path, parent)
    except Exception as error:
        if shutil.disk_usage(path.parent).free < _DISK_FULL_BYTES:  # torch and OpenVINO have their own words for it
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path.name) from error
        raise
    companions = sorted(other for other in path.parent.iterdir() if other != path)
    listed = {"outputs": ", ".join(source.output_names), "companions": ", ".join(file.name for file in companions)}
    return describe_file(
        path,
        plugin.name,
        source.input_names,
        source.output_names,
        dynamic_batch=written.dynamic_batch,
        companions=companions,
        details={**written.details, **{key: names for key, names in listed.items() if names}},
    )


def _move(file: ExportedFile, folder: Path) -> ExportedFile:
    """Companions first: who sees the main file may rely on the rest."""
    companions = tuple(companion.replace(folder / companion.name) for companion in file.companions)
    return dataclasses.replace(file, path=file.path.replace(folder / file.path.name), companions=companions)
