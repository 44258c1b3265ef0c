"""The stage that gives accuracy back: recoveries in order, each measured and kept; a killed run goes on after it."""

from __future__ import annotations

from typing import Any

from torch import nn

from compressor.core.errors import DataError, InvalidOption
from compressor.core.options import RunOptions
from compressor.core.plugin_options import plugin_options
from compressor.core.protocols import RecoveryContext
from compressor.report.schema import StageRow
from compressor.runs.accuracy import measure_accuracy
from compressor.runs.datasets import Datasets
from compressor.runs.folder import RunFolder
from compressor.runs.processes import is_main_process
from compressor.runs.record import Record
from compressor.runs.recoveries import FINETUNE, RECOVERIES, context_of, tuning_options
from compressor.runs.saved import load_weights, save_weights


def recover(record: Record, small: nn.Module, data: Datasets, folder: RunFolder) -> None:
    """Runs the recoveries that were asked for, or that the data allows; changes `small` in place.

    Raises:
        UnknownPlugin: no such recovery.
        DataError: one that was asked for needs data or labels and there are none.
    """
    for i, name in enumerate(recoveries_of(record.options)):
        plugin = _make(name, record.options, data.train is not None and data.train.labelled)
        if "labels" in plugin.needs and data.train is not None:
            data.train.require_labels(f"recovery '{name}'")
        done = folder.work / f"recovered-{i}-{name}.safetensors"
        if done.exists():
            load_weights(small, done)
            record.stages.append(folder.remember(f"recovered-{i}-{name}", StageRow, lambda: StageRow("", 0.0)))
        else:
            with record.stage(name) as facts:
                context = context_of(record, small, data, folder.work / f"checkpoints-{i}-{name}")
                facts.update(_applied(plugin, context, record, name))
            if is_main_process():
                folder.remember(f"recovered-{i}-{name}", StageRow, lambda: record.stages[-1])
                partial = done.with_suffix(".partial")
                save_weights(small, partial)
                partial.replace(done)
        measure_accuracy(record, name, small, data, folder)


def _applied(plugin: Any, context: RecoveryContext, record: Record, name: str) -> dict[str, float | int | str]:
    """What the plug-in says it did. One that nobody asked for, and that needs nothing, does not end the run."""
    try:
        facts: dict[str, float | int | str] = plugin.apply(context, record.progress)
    except Exception as error:
        if name in record.options.recover or plugin.needs:
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        record.note(f"{name} was left out, and the model stays as it was cut: {reason[:300]}")
        return {"skipped": reason[:300]}
    return facts


def recoveries_of(options: RunOptions) -> tuple[str, ...]:
    """Names in order: as typed, else what docs/methods.md found best; then fine-tuning.

    Where there are images, that is least squares; before training, which mends the rest, the statistics of the norms;
    without images, merging. All three but the norms mend what was cut; what splitting layers did, only the norms.

    Raises:
        UnknownPlugin: no recovery has that name.
        InvalidOption: fine-tuning without a number of epochs.
    """
    if "none" in options.recover:
        return ()
    chosen = options.recover or _by_default(options)
    if options.finetune_epochs and "finetune" not in chosen:
        chosen = (*chosen, "finetune")
    if "finetune" in chosen and not options.finetune_epochs:
        raise InvalidOption("compress", "--finetune-epochs", "at least 1 where finetune is asked for", 0)
    for name in chosen:
        RECOVERIES.load(name)
    return chosen


def _by_default(options: RunOptions) -> tuple[str, ...]:
    if not options.data:
        return ("neuron_merging",) if options.prunes else ()
    if options.finetune_epochs or not options.prunes:
        return ("bn_reestimate",)
    return ("least_squares", "bn_reestimate") if options.decompose else ("least_squares",)


def check_recoveries(options: RunOptions) -> None:
    """The options of every recovery fit, and there is data where one needs it; before any work is done.

    Raises:
        UnknownPlugin, InvalidOption: a name or an option.
        DataError: no data for one that needs it.
    """
    chosen = recoveries_of(options)
    for text in options.recover_options:
        if text.partition(".")[0] not in chosen:
            allowed = f"RECOVERY.NAME=VALUE of one that runs ({', '.join(chosen) or 'none does'})"
            raise InvalidOption("compress", "--recover-option", allowed, text)
    for name in chosen:
        plugin = _make(name, options, labelled=True)
        if "data" in plugin.needs and not options.data:
            step = "Add --data FOLDER, or leave it out of --recover."
            raise DataError(f"recovery '{name}' needs images, but none were given. {step}")


def _make(name: str, options: RunOptions, labelled: bool) -> Any:
    kind = RECOVERIES.load(name)
    typed = plugin_options(kind, name, "--recover-option", _options_of(name, options))
    if name != FINETUNE:
        return kind(**typed)
    values = tuning_options(options, options.finetune_epochs)
    if labelled and not options.distill:  # without labels there is nothing else to learn from
        values["distill"] = 0.0
    return kind(**values | typed)


def _options_of(name: str, options: RunOptions) -> list[str]:
    return [text.removeprefix(f"{name}.") for text in options.recover_options if text.startswith(f"{name}.")]
