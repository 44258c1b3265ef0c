"""The whole story: a trained model goes in; a smaller one comes out, exported, checked and timed.

`run` tells it top to bottom, one call a stage. Stages do not know each other; only values pass between them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from torch import Tensor, nn

from compressor.core.errors import InvalidOption
from compressor.core.groups import Coverage
from compressor.core.options import TRAINED, RunOptions, options_from
from compressor.core.progress import Progress, SilentProgress
from compressor.data.batches import from_batches
from compressor.data.dataset import ImageDataset
from compressor.data.sample import sample_shape
from compressor.loading.model_file import load_model
from compressor.report.inspection import Inspection
from compressor.runs.accuracy import advise, measure_accuracy
from compressor.runs.alternatives import compare_alternatives
from compressor.runs.bench import require_targets
from compressor.runs.choose import choose, make_method
from compressor.runs.control import load_control
from compressor.runs.control_verdict import judge_control
from compressor.runs.datasets import Datasets, open_datasets, set_aside
from compressor.runs.deliver import export_and_verify
from compressor.runs.folder import RunFolder
from compressor.runs.inspecting import inspection_of
from compressor.runs.ladder import check_rungs, climb
from compressor.runs.low_rank import check_low_rank, split_layers
from compressor.runs.preflight import check_names, preflight
from compressor.runs.processes import is_main_process, main_process_first, part
from compressor.runs.prove import prove
from compressor.runs.record import Record, Source, device_of, require_device
from compressor.runs.recover import check_recoveries, recover
from compressor.runs.result import CompressedModel
from compressor.runs.rewriting import cover_rewritten
from compressor.runs.saved import load_program, replay
from compressor.runs.timing import time_against_original
from compressor.runs.tracking import CURVES, TRACKERS, tracked
from compressor.runs.training import check_training, train_for_the_cut
from compressor.surgery.cut import cut_copy
from exporters.signature import ExampleInputs

Inputs = ExampleInputs | Tensor | Sequence[Tensor] | Mapping[str, Tensor]


def run(
    source: Source,
    options: RunOptions,
    data: Datasets,
    folder: RunFolder,
    progress: Progress,
    control: nn.Module | None = None,
    importance: Mapping[str, Tensor] | None = None,
) -> CompressedModel:
    """Every stage in order. A folder that already holds some of the stages' results goes on from there.

    `control` is a live module beside what `options.control` can name, `importance` what a training of the caller's own
    left of each channel.

    Raises:
        CompressionError, ExportError: the sentence says which stage, what is wrong and what to do.
    """
    torch.manual_seed(options.seed)
    data = set_aside(data, options)
    record = Record(source, options, progress, importance=dict(importance) if importance is not None else None)
    for sentence in data.notes:
        record.note(sentence)
    if is_main_process():
        load_control(record, folder, control)
    with record.stage("coverage"):
        source, record.coverage = _cover(source, options, progress, record.note, needed=options.prunes)
        record.source = source
    by_ladder = options.max_drop is not None  # which measures for itself
    if not by_ladder:
        measure_accuracy(record, "dense", source.module, data, folder)
    if options.train:
        record.source = source = train_for_the_cut(record, data, folder)
        if not by_ladder:
            measure_accuracy(record, "trained", source.module, data, folder)
    if options.decompose:
        record.source = source = split_layers(record, folder)
        if not by_ladder:
            measure_accuracy(record, "split", source.module, data, folder)
    with record.stage("plan"), progress.step(_choosing(options)):
        record.plan, record.budget_met = choose(record, data, folder)
    with record.stage("check"), progress.step("Checking the cut against masking"):
        prove(record, data, folder)
    with record.stage("cut"):
        small = cut_copy(source.module, record.plan.cuts, record.plan.attributes)
    if by_ladder:
        climb(record, small, data, folder)
    else:
        measure_accuracy(record, "cut", small, data, folder)
        recover(record, small, data, folder)
    part()
    advise(record)
    if is_main_process():
        export_and_verify(record, small, data, folder)
        time_against_original(record, folder)
        judge_control(record, data)
        compare_alternatives(record, small, data, folder)
    return CompressedModel(small, record, folder)


def _choosing(options: RunOptions) -> str:
    return f"Choosing channels by {options.criterion}" if options.prunes else "Writing down what stays"


def compress_file(options: RunOptions, progress: Progress) -> CompressedModel | None:
    """What `compress MODEL` does: options are checked first, then the file is loaded, run and saved.

    Returns:
        The saved result; None in every process of a distributed run but the main one.
    """
    if not is_main_process():
        progress = SilentProgress()
    preflight(options)
    check_options(options)
    source = load_source(options, progress)
    data = open_datasets(options, source, progress)
    with main_process_first(device_of(options)):
        path = options.output_folder
        folder = RunFolder.claim(path, options, source.sha256) if is_main_process() else RunFolder(path)
    try:
        with tracked(options.track if is_main_process() else (), path / CURVES, progress) as told:
            result = run(_with_preprocessing(source, data), options, data, folder, told)
        if not is_main_process():
            return None
        result.save()
    except BaseException:
        if is_main_process():
            folder.leave()
        raise
    return result


def inspect_file(options: RunOptions, progress: Progress) -> Inspection:
    """What `compress inspect MODEL` does; cuts nothing."""
    source = load_source(options, progress)
    return inspection_of(*_cover(source, options, progress))


def _cover(
    source: Source,
    options: RunOptions,
    progress: Progress,
    note: Callable[[str], None] | None = None,
    needed: bool = True,
) -> tuple[Source, Coverage]:
    return cover_rewritten(source, options.ignore, options.seed, progress, options.prune, note, needed)


def compress(
    model: nn.Module,
    example_inputs: Inputs,
    *,
    data: Iterable[Any] | Tensor | ImageDataset | None = None,
    val: Iterable[Any] | Tensor | ImageDataset | None = None,
    control: nn.Module | str | os.PathLike[str] | None = None,
    importance: Mapping[str, Tensor] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> CompressedModel:
    """Compresses a live module; `options` are those of the command line (method="reprune", macs=0.5, ...).

    Args:
        model: left as it is.
        example_inputs: a tensor, several, a dictionary by name, or `ExampleInputs`; axis 0 is the batch.
        data: batches (inputs, labels), or inputs alone, ready for the model; to train and calibrate on.
        val: the same, to measure accuracy on.
        control: a third arm that is timed beside the two, with on=[...]: a smaller module with its weights, or what
            --control takes.
        importance: of each channel of each group, as a training of your own left it (`compressor.regularize`); the
            smallest leave, unless a method is named.
        progress: is told of the steps.

    Returns:
        The small module (`.module`), its `.plan`, its `.report()`; `.save(folder)` writes the run folder.
    """
    given = {"on": ["none"], "export": ["none"], **options}
    if data is not None:
        given["data"] = "from Python"
    if importance is not None:
        given.setdefault("method", TRAINED)
    live = control if isinstance(control, nn.Module) else None
    if control is not None:
        given["control"] = type(live).__name__ if live is not None else str(control)
    chosen = options_from(given)
    if chosen.track:
        step = "Give a `progress` whose `measured` keeps the numbers."
        raise InvalidOption("compress", "track", "left out from Python", ", ".join(chosen.track), step)
    check_names(chosen)
    check_options(chosen, importance is not None)
    inputs = ExampleInputs.of(example_inputs, model)
    was_training = {module: module.training for module in model.modules()}
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices):  # the caller's random numbers go on as if nothing had happened
        try:
            source = Source(model.eval(), inputs, type(model).__name__, "example_inputs")
            datasets = Datasets(_dataset(data, "data"), _dataset(val, "val"))
            folder = RunFolder.temporary(Path(mkdtemp(prefix="compressor-")))
            return run(source, chosen, datasets, folder, progress or SilentProgress(), live, importance)
        finally:
            for module, training in was_training.items():
                module.training = training


def inspect(
    model: nn.Module, example_inputs: Inputs, *, ignore: Sequence[str] = (), prune: Sequence[str] = ()
) -> Coverage:
    """Groups and coverage of a live module as `compress` would prune it (with blocks rewritten, too); cuts nothing."""
    source = Source(model, ExampleInputs.of(example_inputs, model), type(model).__name__, "example_inputs")
    return cover_rewritten(source, ignore, prune=prune)[1]


def load(run_folder: str | os.PathLike[str], model: nn.Module | None = None) -> Any:
    """A saved run's small model: replayed on `model`, a fresh instance of its class, or, without it, model.pt2.

    Raises:
        ModelFileError: the folder is not a run, or damaged.
        WeightsMismatch: `model` is not a fresh instance of the class that was compressed.
    """
    return load_program(Path(run_folder)) if model is None else replay(Path(run_folder), model)


def load_source(options: RunOptions, progress: Progress) -> Source:
    """The model file as the pipeline takes it."""
    with progress.step(f"Loading {Path(options.model).name}"):
        loaded = load_model(
            options.model,
            arch=options.arch or None,
            arch_args=options.arch_args,
            allow=options.allow,
            trust=options.trust,
            inputs=options.input,
            data_sample_shape=_sample_shape(options),
            note=progress.note,
        )
    progress.note(str(loaded))
    preprocessing = {name: _numbers(value) for name, value in loaded.preprocessing.items()}
    known = {name: numbers for name, numbers in preprocessing.items() if numbers}
    return Source(loaded.module, loaded.inputs, options.model, loaded.inputs_from, loaded.source_sha256, known)


def check_options(options: RunOptions, trained: bool = False) -> None:
    """The options of the plug-ins fit and the device is there, before any work is done.

    `trained` says that the caller gives what a training left of each channel.
    """
    require_device(options)
    require_targets(options)
    make_method(options.criterion, options.method_options)
    check_training(options, trained)
    check_low_rank(options)
    check_recoveries(options)
    check_rungs(options)
    for name in options.track:
        TRACKERS.load(name)


def _sample_shape(options: RunOptions) -> tuple[int, int, int] | None:
    path = options.data or options.val
    shape = sample_shape(path) if path and not options.input else None
    return (shape[0], options.size, options.size) if shape and options.size else shape


def _with_preprocessing(source: Source, data: Datasets) -> Source:
    facts = data.preprocessing or source.preprocessing
    return Source(source.module, source.inputs, source.name, source.inputs_from, source.sha256, facts)


def _numbers(value: object) -> list[float]:
    items = value if isinstance(value, (list, tuple)) else [value]
    return [float(item) for item in items if isinstance(item, (int, float)) and not isinstance(item, bool)]


def _dataset(given: Iterable[Any] | Tensor | ImageDataset | None, name: str) -> ImageDataset | None:
    if given is None or isinstance(given, ImageDataset):
        return given
    if isinstance(given, (str, os.PathLike)):
        raise InvalidOption(
            "compress", name, "batches", str(given), "Open files with compressor.open_dataset(path, ...)."
        )
    return from_batches(given, name=name)
