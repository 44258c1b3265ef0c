"""The stage that trains a copy of the model so that channels can leave; a killed run goes on within it."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from compressor.core.errors import InvalidOption, UnsupportedModel
from compressor.core.options import TRAIN_EPOCHS, TRAINED, RunOptions
from compressor.core.plugin_options import plugin_options
from compressor.core.plugins import PluginFolder
from compressor.data.dataset import ImageDataset
from compressor.recovery.finetune import FineTune
from compressor.runs.coverage import cover
from compressor.runs.datasets import Datasets
from compressor.runs.folder import RunFolder
from compressor.runs.processes import is_main_process
from compressor.runs.record import Record, Source
from compressor.runs.recoveries import training_options
from compressor.runs.saved import load_weights, save_weights
from compressor.training.channel_hook import ChannelHook
from compressor.training.hooks import Hook
from compressor.training.loop import train
from compressor.training.own_loop import OwnLoop
from exporters.signature import ExampleInputs

REGULARIZERS = PluginFolder("compressor.training.regularizers", "regularizer")
STAGE = "trained"


def check_training(options: RunOptions, given: bool = False) -> None:
    """The regulariser's options fit, and whoever goes by what training left has trained; before any work is done.

    Args:
        given: whether the importance of channels comes from a training of the caller's own.

    Raises:
        UnknownPlugin, InvalidOption: a name or an option.
    """
    if options.train:
        _regularizer(options.train, options.train_options)
        _settings(options)
        if given:
            raise InvalidOption("compress", "importance", "left out with train", "a value")
    elif options.criterion == TRAINED and not given:
        step = "Add --train proximal_slimming, for example."
        raise InvalidOption("compress", "--method", f"another than {TRAINED} without --train", TRAINED, step)


def regularize(
    model: nn.Module,
    example_inputs: Any,
    regularizer: str,
    *,
    epochs: int,
    steps_per_epoch: int,
    n_images: int = 0,
    seed: int = 0,
    ignore: Sequence[str] = (),
    prune: Sequence[str] = (),
    **options: Any,
) -> OwnLoop:
    """A regulariser for a training loop of your own; `compress methods` lists them.

    Args:
        model: with the weights that training begins with, on its device.
        example_inputs: as for `compress`.
        regularizer: "proximal_slimming", ...
        epochs, steps_per_epoch: of the whole training.
        n_images: that are trained on, where the regulariser's strength is per image; 0: steps_per_epoch.
        ignore, prune: as for `compress`, which should be given the same.
        options: of the regulariser.

    Returns:
        What has to be called before and after each step of the optimizer.

    Raises:
        UnknownPlugin, InvalidOption: the name or an option.
        NothingPrunable, UnsupportedModel: the regulariser does not work on this model.
    """
    kind = REGULARIZERS.load(regularizer)
    known = {field.name for field in dataclasses.fields(kind)}
    for name in options:
        if name not in known:
            raise InvalidOption("regularize", "option", f"one of {', '.join(sorted(known))}", name)
    groups = cover(model, ExampleInputs.of(example_inputs, model), ignore, prune=prune).groups
    hook = kind(**options).attach(model, groups, seed=seed, n_images=n_images or steps_per_epoch)
    return OwnLoop([hook], epochs, steps_per_epoch)


def train_for_the_cut(record: Record, data: Datasets, folder: RunFolder) -> Source:
    """The source with a trained copy of its module, as `--train` says; the record learns what became of each channel.

    Raises:
        DataError: there are no labels.
        UnsupportedModel, InvalidOption: the regulariser does not work on this model.
    """
    source, options, coverage = record.source, record.options, record.coverage
    if data.train is None or coverage is None:
        raise RuntimeError("options and stages before this one see to data and coverage")
    data.train.require_labels(f"--train {options.train}")
    module = copy.deepcopy(source.module)
    weights, importance = folder.work / f"{STAGE}.safetensors", folder.work / f"{STAGE}-channels.safetensors"
    with record.stage(f"train, {options.train}") as facts:
        hook = _regularizer(options.train, options.train_options).attach(
            module, coverage.groups, seed=options.seed, n_images=len(data.train)
        )
        if options.criterion == TRAINED and not isinstance(hook, ChannelHook):
            step = "Name a --method; `compress methods` lists them."
            raise UnsupportedModel(f"--train {options.train}: says nothing of channels. {step}")
        trained: dict[str, float | int | str] = {}
        if importance.exists():
            load_weights(module, weights)
            record.importance = load_file(importance)
        else:
            trained = _trained(module, hook, record, data.train, folder)
            record.importance = _importance(hook)
            if is_main_process():
                save_weights(module, weights)
                partial = importance.with_suffix(".partial")
                save_file(record.importance, partial)
                partial.replace(importance)  # last: it says that the stage is done
        facts |= _told(record, hook) | trained  # tables show the first ones
    return replace(source, module=module, untrained=source.module)


def _trained(
    module: nn.Module, hook: Hook, record: Record, dataset: ImageDataset, folder: RunFolder
) -> dict[str, float | int | str]:
    options, settings = record.options, _settings(record.options)
    result = train(
        module,
        dataset,
        settings.recipe(options.seed),
        settings.objective(dataset),
        hooks=[hook],
        device=record.device,
        checkpoints=folder.work / f"checkpoints-{STAGE}",
        progress=record.progress,
        title=f"training, {options.train}",
    )
    rate = round(result.images_per_s, 1)
    facts: dict[str, float | int | str] = {"epochs": settings.epochs, "steps": result.step, "images_per_second": rate}
    facts |= {f"loss_epoch_{i}": round(loss, 6) for i, loss in enumerate(result.losses, 1)}
    return facts


def _settings(options: RunOptions) -> FineTune:
    """The same recipe as fine-tuning, without a teacher."""
    epochs = TRAIN_EPOCHS if options.train_epochs is None else options.train_epochs
    return FineTune(**training_options(options, epochs), distill=0.0)


def _importance(hook: Hook) -> dict[str, Tensor]:
    """Of each channel, where the hook says anything of channels."""
    found = hook.channels() if isinstance(hook, ChannelHook) else {}
    return {group: tensor.contiguous() for group, tensor in found.items()}


def _told(record: Record, hook: Hook) -> dict[str, float | int | str]:
    """Facts for the report; notes on groups that were left alone or driven to nothing."""
    if not isinstance(hook, ChannelHook):
        return {}
    found, name = record.importance or {}, record.options.train
    for group, reason in hook.left_alone.items():
        record.note(f"--train {name} leaves {group} alone: {reason}")
    if hook.emptied:
        record.note(
            f"--train {name} drove every channel of {', '.join(hook.emptied)} to nothing; at least one step of them "
            "stays. Try a smaller strength."
        )
    n_at_zero = sum(int((importance == 0).sum()) for importance in found.values())
    return {"channels": sum(map(len, found.values())), "channels_at_zero": n_at_zero}


def _regularizer(name: str, options: Sequence[str]) -> Any:
    kind = REGULARIZERS.load(name)
    return kind(**plugin_options(kind, name, "--train-option", options))
