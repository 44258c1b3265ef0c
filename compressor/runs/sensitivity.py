"""What channels are worth, judged by the calibration images: what each group costs alone, and what a whole plan does.

Before widths are chosen in time, every group is cut by itself to a few widths, with the channels that the method would
keep, and the model's outputs on calibration images are compared with the original's, as it was cut and after its norms
were re-estimated:

    damage(group, share) = |y_cut - y|^2 / |y - mean of y over images|^2

Groups whose loss the model would feel keep more (`planning.worth`). No such number is the whole truth: cut as it is, a
residual stream looks like the end of the model; with norms re-estimated, small losses drown in what re-estimating does
by itself; and damages do not simply add up. So there are several opinions, each with plans of its own, and of the plans
that take the same time the one is taken that does least damage after a repair.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

from compressor.calibration.norms import collecting, norms_with_statistics
from compressor.core.plan import PruningPlan, TensorCut
from compressor.core.progress import SilentProgress
from compressor.planning.planner import Planner
from compressor.planning.worth import worth_between, worth_of_damage
from compressor.runs.datasets import Datasets
from compressor.runs.folder import RunFolder
from compressor.runs.record import Record
from compressor.runs.recoveries import RECOVERIES, context_of
from compressor.surgery.cut import cut_copy
from compressor.surgery.expand import expand
from exporters.signature import flatten_outputs

SHARES = (0.75, 0.5, 0.25, 0.1)
MOST_IMAGES, FEWEST_IMAGES, BATCH = 256, 16, 32
LIMIT_S = 90.0  # of all trials together, about
REPAIR = "least_squares"
REPAIR_IMAGES = 128
REPAIR_S = 2.0  # that a model may take for so many images, for the repair to be worth its time here

Worth = Mapping[str, np.ndarray]  # {group: (n_channels + 1,)}, of keeping k channels


@dataclass(frozen=True)
class Damage:
    """What the folder remembers: {group: {share kept: damage}}, as cut and with norms re-estimated."""

    as_cut: dict[str, dict[str, float]]
    re_estimated: dict[str, dict[str, float]]


class Opinions:
    """On what channels are worth. Each is worked out when it is asked for."""

    def __init__(self, record: Record, planner: Planner, data: Datasets, folder: RunFolder) -> None:
        self._record, self._planner, self._data, self._folder = record, planner, data, folder
        self._batches: list[Tensor] = []
        self._expected: list[Tensor] = []

    def first(self) -> Worth:
        """By the damage of each group as it is cut; without calibration images, by the method's own judgement."""
        return self._planner.worth() if self._data.train is None else self._worth(self._measured.as_cut)

    def others(self) -> list[Worth]:
        """By what norms leave of the damage, by the method, and between each and the first; none without images."""
        if self._data.train is None:
            return []
        cut, mended, method = self.first(), self._worth(self._measured.re_estimated), self._planner.worth()
        return [mended, method, worth_between(cut, mended), worth_between(cut, method)]

    def damage(self, n_keep: Mapping[str, int]) -> float:
        """Of a whole plan, after a repair: least squares where that takes seconds, else re-estimated norms.

        Of least squares, if the run does without any repair, too: what it leaves is what training would begin with.
        """
        with self._record.progress.step("Comparing plans by what they do to the outputs"):
            return self._damage(n_keep)

    def _damage(self, n_keep: Mapping[str, int]) -> float:
        self._prepare()
        groups = {group.name: group for group in self._planner.groups}
        keep = {n: self._planner.picked(groups[n], k) for n, k in n_keep.items() if k < groups[n].n_channels}
        cuts, attributes = expand([groups[name] for name in keep], keep, self._record.source.module)
        small = cut_copy(self._record.source.module, cuts, attributes)
        begin = perf_counter()
        _outputs(small, self._batches[:1])
        if (perf_counter() - begin) / len(self._batches[0]) * REPAIR_IMAGES < REPAIR_S:
            context = replace(context_of(self._record, small, self._data), plan=_plan(cuts))
            RECOVERIES.load(REPAIR)(n_images=REPAIR_IMAGES).apply(context, SilentProgress())
        else:
            _re_estimate_norms(small, self._batches)
        return _damage(_outputs(small, self._batches), self._expected)

    def _prepare(self) -> None:
        if not self._batches:
            # Others than those that the repair sees, which begins at the run's own seed.
            self._batches = _batches(self._data, MOST_IMAGES, self._record.options.seed + 1)
            self._expected = _outputs(self._record.source.module, self._batches)

    @property
    def _measured(self) -> Damage:
        # A later attempt has fewer groups.
        name = f"sensitivity-{_digest(self._planner)}"
        return self._folder.remember(name, Damage, lambda: _measured(self._record, self._planner, self._data))

    def _worth(self, damage: Mapping[str, Mapping[str, float]]) -> Worth:
        shares = {name: {float(share): hurt for share, hurt in tried.items()} for name, tried in damage.items()}
        return worth_of_damage(shares, {group.name: group.n_channels for group in self._planner.groups})


def _plan(cuts: tuple[TensorCut, ...]) -> PruningPlan:
    """What a repair reads of a plan."""
    nothing = {"method": "", "allocation": "", "round_to": 0, "seed": 0, "macs": (1, 1), "params": (1, 1)}
    return PruningPlan(**nothing, method_options={}, budget={}, groups={}, cuts=cuts, attributes=())  # type: ignore[arg-type]


def _measured(record: Record, planner: Planner, data: Datasets) -> Damage:
    model = record.source.module
    begin = perf_counter()
    batches = _batches(data, FEWEST_IMAGES, record.options.seed)
    _outputs(model, batches)
    per_image = (perf_counter() - begin) / FEWEST_IMAGES
    n_trials = len(planner.groups) * len(SHARES)
    affordable = int(LIMIT_S / max(3 * per_image * n_trials, 1e-9))  # as cut, to re-estimate, and once more
    batches = _batches(data, max(FEWEST_IMAGES, min(MOST_IMAGES, affordable)), record.options.seed)
    expected = _outputs(model, batches)
    found = Damage({}, {})
    with record.progress.step("Measuring what each group is worth", len(planner.groups)) as step:
        for group in planner.groups:
            found.as_cut[group.name], found.re_estimated[group.name] = {}, {}
            for share in SHARES:
                n_keep = max(1, round(share * group.n_channels))
                kept = repr(n_keep / group.n_channels)
                if n_keep < group.n_channels and kept not in found.as_cut[group.name]:
                    keep = {group.name: planner.picked(group, n_keep)}
                    small = cut_copy(model, *expand([group], keep, model))
                    found.as_cut[group.name][kept] = _damage(_outputs(small, batches), expected)
                    _re_estimate_norms(small, batches)
                    found.re_estimated[group.name][kept] = _damage(_outputs(small, batches), expected)
            step.advance(1)
    return found


def _damage(outputs: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Of all outputs together; large and finite where there are numbers no more."""
    scale = float(sum(((y - y.mean(0, keepdim=True)) ** 2).sum() for y in expected)) or 1.0
    hurt = float(sum(((y - e) ** 2).sum() for y, e in zip(outputs, expected, strict=True))) / scale
    return hurt if np.isfinite(hurt) else 1e6


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
