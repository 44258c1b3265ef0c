"""Recovery plug-ins with their options set, and what of the run they may use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from compressor.core.options import RunOptions
from compressor.core.plugins import PluginFolder
from compressor.core.protocols import RecoveryContext
from compressor.runs.datasets import Datasets
from compressor.runs.record import Record

RECOVERIES = PluginFolder("compressor.recovery", "recovery")
FINETUNE = "finetune"


def training_options(options: RunOptions, epochs: int) -> dict[str, Any]:
    """The run's options of all training, as `FineTune` has them; what was not said is left to its defaults."""
    offered: dict[str, Any] = {"epochs": epochs, "lr": options.lr, "batch_size": options.train_batch_size}
    offered |= {"flip": options.flip, "augment": options.augment, "augment_options": options.augment_options}
    offered["compile"] = options.compile
    return {name: value for name, value in offered.items() if value}


def tuning_options(options: RunOptions, epochs: int) -> dict[str, Any]:
    """Those of training after the cut, where there is an original to learn from."""
    features = {"features": options.features, "features_options": options.features_options}
    return training_options(options, epochs) | {name: value for name, value in features.items() if value}


def context_of(
    record: Record, small: nn.Module, data: Datasets, checkpoints: Path | None = None, seed: int | None = None
) -> RecoveryContext:
    """What a recovery may use; `small` is what it changes. Without `seed`, the run's."""
    return RecoveryContext(
        model=small,
        original=record.source.module,
        teacher=record.source.untrained or (record.whole.source.module if record.whole else None),
        plan=record.plan,
        groups=record.coverage.groups if record.coverage else (),
        inputs=record.source.inputs,
        train=data.train,
        val=data.val,
        device=record.device,
        seed=record.options.seed if seed is None else seed,
        checkpoints=checkpoints,
    )
