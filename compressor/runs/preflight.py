"""What can be seen to be wrong before PyTorch is loaded, which takes seconds."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from compressor.core.errors import DataError, InvalidOption
from compressor.core.options import TRAINED, RunOptions
from compressor.core.plugins import PluginFolder
from compressor.loading.recognise import recognise
from compressor.runs.control_choice import check_control
from compressor.runs.folder import RunFolder
from compressor.targets import factory_of
from exporters.discovery import format_class, require_installed


def preflight(options: RunOptions) -> None:
    """Looks at the model file's first bytes, the names of plug-ins, the paths and the run folder; changes nothing.

    Raises:
        InvalidOption, UnknownPlugin, DataError, OutputError, ModelFileError, ExportError: the sentence says what.
    """
    check_threads(options)
    if not options.model:
        raise InvalidOption("compress", "MODEL", "given", None, "As in: compress --export onnx model.pt")
    check_names(options)
    recognise(Path(options.model))
    for option, path in (("--data", options.data), ("--val", options.val)):
        if path and not Path(path).exists():
            raise DataError(f"{option} {path}: there is no such file or folder. Check the path.")
    check_control(options)
    RunFolder.check(options.output_folder, options.force)


def check_threads(options: RunOptions) -> None:
    """There are as many cores as threads: more would measure how they wait for each other.

    Raises:
        InvalidOption: there are not.
    """
    cores = os.cpu_count() or 1
    if options.threads > cores:
        raise InvalidOption("compress", "--threads", f"from 1 to the {cores} cores of this machine", options.threads)


def check_names(options: RunOptions) -> None:
    """Every plug-in that was named exists, and the formats' packages are installed.

    Raises:
        UnknownPlugin, InvalidExportOption, MissingRuntime: one does not; the nearest name is suggested.
    """
    if options.criterion != TRAINED:
        PluginFolder("compressor.methods", "pruning method").require(options.criterion)
    if options.train:
        PluginFolder("compressor.training.regularizers", "regularizer").require(options.train)
    for name in options.recover:
        if name != "none":
            PluginFolder("compressor.recovery", "recovery").require(name)
    for name in options.augment:
        PluginFolder("compressor.training.augmentations", "augmentation").require(name)
    if options.features:
        PluginFolder("compressor.training.losses", "loss").require(options.features)
    for name in options.track:
        PluginFolder("compressor.training.trackers", "tracker").require(name)
    for name in options.formats:
        plugin: Any = format_class(name)
        require_installed(plugin)
        if options.opset and "opset" in {field.name for field in dataclasses.fields(plugin)}:
            plugin(opset=options.opset)
    for name in options.on:
        if name != "none":
            factory_of(name)
