"""What each group costs alone: how far the outputs move when only a part of its channels stays.

Before widths are chosen in time, every group is cut by itself to a few widths, with the channels that the method would
keep, batch norms are re-estimated, and the model's outputs on calibration images are compared with the original's:

    damage(group, share) = |y_cut - y|^2 / |y - mean of y over images|^2

Norms are part of it because every repair begins with them: without, a cut in a residual stream looks like the end of
the model, and with them it is much nearer to what is left after a repair. Groups whose loss the model would feel keep
more (`planning.worth`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

from compressor.calibration.norms import collecting, norms_with_statistics
from compressor.planning.planner import Planner
from compressor.planning.worth import worth_of_damage
from compressor.runs.datasets import Datasets
from compressor.runs.folder import RunFolder
from compressor.runs.record import Record
from compressor.surgery.cut import cut_copy
from compressor.surgery.expand import expand
from exporters.signature import flatten_outputs

SHARES = (0.75, 0.5, 0.25, 0.1)
MOST_IMAGES, FEWEST_IMAGES, BATCH = 256, 16, 32
LIMIT_S = 90.0  # of all trials together, about


@dataclass(frozen=True)
class Damage:
    """What the folder remembers: {group: {share kept: damage}}."""

    of: dict[str, dict[str, float]]


def sensitivity(record: Record, planner: Planner, data: Datasets, folder: RunFolder) -> dict[str, np.ndarray] | None:
    """What channels are worth by what their loss does to the outputs; None without calibration data."""
    if data.train is None:
        return None
    # A later attempt has fewer groups.
    found = folder.remember(f"sensitivity-{_digest(planner)}", Damage, lambda: _measured(record, planner, data))
    shares = {name: {float(share): hurt for share, hurt in tried.items()} for name, tried in found.of.items()}
    return worth_of_damage(shares, {group.name: group.n_channels for group in planner.groups})


def _measured(record: Record, planner: Planner, data: Datasets) -> Damage:
    model = record.source.module
    begin = perf_counter()
    batches = _batches(data, FEWEST_IMAGES, record.options.seed)
    _outputs(model, batches)
    per_image = (perf_counter() - begin) / FEWEST_IMAGES
    n_trials = len(planner.groups) * len(SHARES)
    affordable = int(LIMIT_S / max(2 * per_image * n_trials, 1e-9))  # norms take a pass of their own
    batches = _batches(data, max(FEWEST_IMAGES, min(MOST_IMAGES, affordable)), record.options.seed)
    expected = _outputs(model, batches)
    scale = float(sum(((y - y.mean(0, keepdim=True)) ** 2).sum() for y in expected)) or 1.0
    found: dict[str, dict[str, float]] = {}
    with record.progress.step("Measuring what each group is worth", len(planner.groups)) as step:
        for group in planner.groups:
            tried: dict[int, float] = {}
            for share in SHARES:
                n_keep = max(1, round(share * group.n_channels))
                if n_keep < group.n_channels and n_keep not in tried:
                    keep = {group.name: planner.picked(group, n_keep)}
                    small = cut_copy(model, *expand([group], keep, model))
                    _re_estimate_norms(small, batches)
                    moved = zip(_outputs(small, batches), expected, strict=True)
                    tried[n_keep] = float(sum(((y - e) ** 2).sum() for y, e in moved)) / scale
            found[group.name] = {
                repr(count / group.n_channels): hurt if np.isfinite(hurt) else 1e6 for count, hurt in tried.items()
            }
            step.advance(1)
    return Damage(found)


def _digest(planner: Planner) -> str:
    told = json.dumps({group.name: group.n_channels for group in planner.groups})
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _re_estimate_norms(model: nn.Module, batches: Sequence[Tensor]) -> None:
    norms = norms_with_statistics(model)
    if norms:
        with collecting(norms):
            _outputs(model, [batch for batch in batches if len(batch) > 1])  # one image alone may have no variance


def _batches(data: Datasets, n_images: int, seed: int) -> list[Tensor]:
    train = data.train
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:n_images].tolist()  # type: ignore[arg-type]
    parts = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    return [train.prepare(train.batch(part)[0]) for part in parts]  # type: ignore[union-attr]


def _outputs(model: nn.Module, batches: Sequence[Tensor]) -> list[Tensor]:
    """One tensor a kind of output, over all images: (n_images, ...)."""
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    found: list[list[Tensor]] = []
    with torch.inference_mode():
        for batch in batches:
            found.append([y.float().cpu() for y in flatten_outputs(model(batch.to(device))) if y.is_floating_point()])
    return [torch.cat(same).double() for same in zip(*found, strict=True)]


def worth_of(record: Record, planner: Planner, data: Datasets, folder: RunFolder) -> Mapping[str, np.ndarray]:
    """By calibration data where there is some, else by the method's own judgement."""
    return sensitivity(record, planner, data, folder) or planner.worth()
