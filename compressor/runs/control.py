"""The third arm of a run: a ready-made smaller model, or the same architecture made uniformly narrower.

It is loaded, called with the model's inputs and exported before anything is chosen or trained: one that will not do is
refused while that costs seconds. Only `narrow` waits for the plan, whose multiply-accumulates it takes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from compressor.core.copies import own_tensors
from compressor.core.errors import InvalidOption, UnsupportedModel
from compressor.core.options import RunOptions
from compressor.loading.architecture import build, parse_arch_args
from compressor.loading.infer_inputs import preprocessing_of
from compressor.loading.model_file import load_model
from compressor.runs.bench import PROGRAM, Effort, targets_of, timed
from compressor.runs.control_choice import IR, ControlKind, check_control, kind_of, said_of_control
from compressor.runs.folder import CONTROL, RunFolder
from compressor.runs.record import ControlModel, Record
from compressor.targets import load_target
from exporters.discovery import format_class
from exporters.errors import ExportError
from exporters.export import export
from exporters.files import describe_file
from exporters.signature import ExampleInputs, flatten_outputs
from exporters.types import ExportedFile

TRIAL = Effort(1, 0.05)  # a file that only its runtime can read is tried so
NOT_TRAINED = "it was not trained"
RANDOM_WEIGHTS = "its weights are random"
RUNTIME_ONLY = "only its runtime can read the file"


def load_control(record: Record, folder: RunFolder, given: nn.Module | None = None) -> None:
    """Puts the control into the record, with its files; nothing where none was asked for.

    Args:
        given: a live module from Python; then `options.control` is only its name.

    Raises:
        InvalidOption: no such architecture or file, or it does not take the model's inputs.
        MissingDependency, ModelFileError: as for the model itself.
        UnsupportedModel: it cannot be exported, or no target reads it.
    """
    options = record.options
    if not options.control:
        return
    kind = ControlKind.MODULE if given is not None else kind_of(options.control)
    if given is None:
        check_control(options)
    # Random weights are drawn here, and what follows must be the run that it would be without a control.
    with record.progress.step(f"Preparing the control {options.control}"), torch.random.fork_rng(devices=[]):
        if kind is ControlKind.NARROW:
            record.control = ControlModel(options.control, kind.value, unmeasured=NOT_TRAINED)
            return
        control = _loaded(record, kind, given)
        module = control.module
        if module is not None:
            other = _other_outputs(record, control.name, module)
            control = replace(control, unmeasured=control.unmeasured or other)
            _note_on_size(record, control.name, module)
        record.control = control
        if control.as_is is not None:
            _try_as_it_is(record, control.as_is)
        for name in _formats_needed(options):
            file, reason = control_file(record, name, folder)
            if file is None and control.module is not None:
                step = "Choose another control, or another --export."
                raise UnsupportedModel(f"--control {options.control}: cannot be exported: {reason.rstrip('.')}. {step}")


def control_file(record: Record, format_name: str, folder: RunFolder) -> tuple[ExportedFile | None, str]:
    """The control in this format, exported where it is not there yet; else None and why."""
    control = record.control
    if control is None:
        return None, ""
    there = next((file for file in record.control_files if file.format == format_name), None)
    if there is not None:
        return there, ""
    if control.module is None:
        if control.as_is is not None and control.as_is.format == format_name:
            return control.as_is, ""
        return None, control.unmade or f"The control is no {format_name} file."
    inputs = record.source.inputs
    inputs = replace(inputs, interface=replace(inputs.interface, output_names=(), metadata={}))
    try:
        (file,) = export(
            control.module, inputs, [format_name], folder.work / CONTROL, opset=record.options.opset or None
        )
    except ExportError as error:
        return None, str(error)
    record.control_files.append(file)
    return file, ""


def _loaded(record: Record, kind: ControlKind, given: nn.Module | None) -> ControlModel:
    options = record.options
    name = options.control
    if given is not None:
        return ControlModel(
            name, kind.value, "a module that was given from Python", own_tensors(given).cpu().float().eval()
        )
    if kind is ControlKind.ARCHITECTURE:
        with said_of_control(kind):
            module = build(name, parse_arch_args(options.control_args)).cpu().float().eval()
        return ControlModel(name, kind.value, "built with random weights", module, unmeasured=RANDOM_WEIGHTS)
    path = Path(name)
    if path.suffix == IR:
        return _as_it_is(record, path, "openvino", "OpenVINO IR, timed as it is")
    inputs = record.source.inputs
    several = len(inputs.tensors) > 1 or inputs.by_keyword
    try:
        with said_of_control(kind):
            loaded = load_model(
                path,
                arch=options.control_arch or None,
                arch_args=options.control_args,
                allow=options.allow,
                trust=options.trust,
                inputs=_texts(inputs) if several else (),
                data_sample_shape=None if several else tuple(inputs.tensors[0].shape[1:]),
                note=record.note,
            )
    except UnsupportedModel as error:
        if path.suffix != ".onnx":
            raise
        record.note(f"The control is timed as it is, and its accuracy cannot be measured: {error}")
        return _as_it_is(record, path, "onnx", "an ONNX file, timed as it is")
    mine, models = ([tuple(t.shape[1:]) for t in some.tensors] for some in (loaded.inputs, inputs))
    if mine != models:
        raise _refused(record, name, f"It takes {', '.join(_texts(loaded.inputs))}.")
    return ControlModel(name, kind.value, loaded.description, loaded.module, _numbers(loaded.preprocessing))


def _as_it_is(record: Record, path: Path, format_name: str, description: str) -> ControlModel:
    companions = [weights for weights in (path.with_suffix(".bin"),) if path.suffix == IR and weights.is_file()]
    file = describe_file(path, format_name, record.source.inputs.names, companions=companions)
    return ControlModel(str(path), ControlKind.FILE.value, description, as_is=file, unmeasured=RUNTIME_ONLY)


def _try_as_it_is(record: Record, file: ExportedFile) -> None:
    """Runs it a few times on every target that reads it: with the model's inputs, by their names."""
    readers = [name for name in targets_of(record.options) if file.path.suffix in load_target(name).accepts]
    usable = [name for name in readers if not load_target(name)().unavailable()]
    if not usable:
        step = f"Add a target that reads {file.path.suffix} files to --on."
        raise InvalidOption("compress", "--control", "a file that a target of the run reads", str(file.path), step)
    for name in usable:
        try:
            timed(record, name, [file.path], TRIAL)
        except InvalidOption as error:
            raise _refused(record, str(file.path), str(error)) from error


def _other_outputs(record: Record, name: str, module: nn.Module) -> str:
    """Calls the control with the model's inputs; says so where it gives other outputs than the model.

    Raises:
        InvalidOption: it does not run with them.
    """
    inputs, original = record.source.inputs, record.source.original
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outputs = flatten_outputs(inputs.call(module))
    except Exception as error:  # the control's own code raises whatever it likes
        first = (str(error).strip().splitlines() or ["no message"])[0].rstrip(".")[:200]
        raise _refused(record, name, f"It does not run with them: {type(error).__name__}: {first}.") from error
    with torch.no_grad():
        wanted = flatten_outputs(inputs.call(original))
    mine, models = (" and ".join("x".join(map(str, t.shape)) for t in some) for some in (outputs, wanted))
    if mine == models:
        return ""
    record.note(
        f"The control {name} gives {mine or 'no tensor'} and the model {models}: it is made for another task. "
        "--control-args num_classes=... may change that."
    )
    return f"it gives {mine or 'no tensor'} and the model {models}"


def _note_on_size(record: Record, name: str, module: nn.Module) -> None:
    """A network that takes images of any size is made for one all the same."""
    made_for, image = preprocessing_of(module).get("size"), record.source.inputs.tensors[0]
    if isinstance(made_for, list) and image.dim() == 4 and made_for != list(image.shape[2:]):
        sizes = ["x".join(map(str, size)) for size in (made_for, image.shape[2:])]
        record.note(
            f"The control {name} is made for images of {sizes[0]} and timed with the model's, of {sizes[1]}: an "
            "accuracy that is given has to be for those."
        )


def _refused(record: Record, name: str, reason: str) -> InvalidOption:
    shapes = ", ".join(_texts(record.source.inputs, named=True))
    allowed = f"a model that takes the model's inputs ({shapes})"
    step = f"{reason} Its latency would be no comparison."
    return InvalidOption("compress", "--control", allowed, name, step)


def _formats_needed(options: RunOptions) -> list[str]:
    """Of the control's files: for each target that can be used the format that it will read."""
    exported = dict.fromkeys([*options.formats, PROGRAM])
    suffixes = {name: format_class(name).suffix for name in exported}
    needed = []
    for target_name in targets_of(options):
        target = load_target(target_name)()
        fitting = [name for name in exported if suffixes[name] in target.accepts]
        if fitting and not target.unavailable():
            needed.append(min(fitting, key=lambda name: target.accepts.index(suffixes[name])))
    return list(dict.fromkeys(needed))


def _texts(inputs: ExampleInputs, named: bool = False) -> list[str]:
    """As --input spells them."""
    return [
        f"{f'{name}=' if named or inputs.by_keyword else ''}{'x'.join(map(str, tensor.shape))}"
        + ("" if tensor.dtype is torch.float32 else f":{str(tensor.dtype).removeprefix('torch.')}")
        for name, tensor in zip(inputs.names, inputs.tensors, strict=True)
    ]


def _numbers(known: Mapping[str, object]) -> dict[str, list[float]]:
    """Mean and standard deviation, where the model names both."""
    found = {
        name: value for name, value in known.items() if name in ("mean", "std") and isinstance(value, (list, tuple))
    }
    return {name: [float(number) for number in value] for name, value in found.items()} if len(found) == 2 else {}
