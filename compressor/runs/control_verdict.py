"""What the control says of the compressed model: whether it is at least as fast, and as good, for less work."""

from __future__ import annotations

import copy
import dataclasses
import math

from compressor.core.errors import CompressionError
from compressor.data.dataset import ImageDataset
from compressor.graph.cost import measure_cost
from compressor.profiling.compare import FLOOR, compare
from compressor.profiling.statistics import latency_stats
from compressor.report.control_wording import AS_FAST, AS_GOOD, SLOWER, UNKNOWN, UNTOLD, WORSE, finding_of
from compressor.report.schema import AccuracyRow, Control, ControlTiming
from compressor.runs.datasets import Datasets
from compressor.runs.record import ControlModel, Record, Timing
from compressor.training.evaluate import evaluate

GIVEN, MEASURED = "--control-accuracy", "measured"


def judge_control(record: Record, data: Datasets) -> None:
    """Puts the control's place in the report into the record; nothing where there is no control."""
    control = record.control
    if control is None:
        return
    with record.stage("control"):
        percent, origin, n_images = _accuracy(record, control, data)
        compressed = next((row for row in reversed(record.accuracy) if row.stage != "dense"), None)
        cost = measure_cost(control.module, record.source.inputs) if control.module is not None else None
        found = Control(
            name=control.name,
            kind=control.kind,
            description=control.description,
            macs=cost.macs if cost else None,
            params=cost.params if cost else None,
            top1_percent=percent,
            accuracy_from=origin,
            n_images=n_images,
            quality=quality_of(percent, n_images, compressed),
            timings=tuple(_timing(timing) for timing in record.timings),
            finding="",
        )
        record.control_result = dataclasses.replace(found, finding=finding_of(found, compressed))


def quality_of(percent: float | None, n_images: int, compressed: AccuracyRow | None) -> str:
    """Whether the control is as good as the compressed model; a difference that the images cannot tell is none.

    Args:
        percent: top-1 of the control; None: unknown.
        n_images: that it was measured on; 0: it was given, and counts as exact.
        compressed: the compressed model's accuracy; None: unknown.
    """
    if percent is None or compressed is None:
        return UNKNOWN
    variance = _variance(compressed.top1_percent, compressed.n_images) + _variance(percent, n_images)
    return AS_GOOD if percent - compressed.top1_percent + 1.96 * math.sqrt(variance) >= 0 else WORSE


def _variance(percent: float, n_images: int) -> float:
    """Of a share of right answers, in points squared."""
    return percent * (100 - percent) / n_images if n_images else 0.0


def _accuracy(record: Record, control: ControlModel, data: Datasets) -> tuple[float | None, str, int]:
    """Top-1 in percent, where it comes from (or why it is unknown), and the number of images."""
    given = record.options.control_accuracy
    if given is not None:
        return 100 * given, GIVEN, 0
    if control.unmeasured or control.module is None:
        return None, control.unmeasured or control.unmade, 0
    if data.val is None:
        return None, "there are no validation images", 0
    if not data.val.labelled:
        return None, "the validation images have no labels", 0
    images = _as_it_wants(data.val, control)
    try:
        percent, n_images = evaluate(control.module, images, record.device, record.progress)
    except CompressionError as error:
        return None, str(error), 0
    return percent, MEASURED, n_images


def _as_it_wants(images: ImageDataset, control: ControlModel) -> ImageDataset:
    """The images normalised with the control's own mean and standard deviation, where it names them."""
    facts, known = control.preprocessing, images.preprocessing
    if known is None or not facts or len(facts["mean"]) != known.n_channels:
        return images
    own = copy.copy(images)
    own.preprocessing = dataclasses.replace(known, mean=tuple(facts["mean"]), std=tuple(facts["std"]))
    return own


def _timing(timing: Timing) -> ControlTiming:
    base, compressed, control = timing.base, timing.compressed, timing.control
    if base is None or compressed is None or control is None:
        return ControlTiming(timing.target, timing.unavailable or timing.control_unavailable or "it was not timed")
    against, original = compare(compressed, control), compare(base, control)
    known = all(map(math.isfinite, (against.ratio, *against.interval, original.ratio, *original.interval)))
    if not known:
        return ControlTiming(timing.target, "the samples give no ratio")
    low, high = against.interval
    return ControlTiming(
        target=timing.target,
        stats=latency_stats(control.samples_s),
        ratio=against.ratio,
        interval=against.interval,
        verdict=AS_FAST if low >= 1 / (1 + FLOOR) else SLOWER if high < 1 / (1 + FLOOR) else UNTOLD,
        original_ratio=original.ratio,
        original_interval=original.interval,
    )
