"""Faster, as good, or not known: what is said of the compressed model, from planted times and accuracies."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from compressor.core.measurement import Measurement
from compressor.data.batches import from_batches
from compressor.data.opening import open_dataset
from compressor.data.preprocessing import Preprocessing
from compressor.profiling.compare import compare
from compressor.profiling.machine import machine_facts
from compressor.report.schema import AccuracyRow
from compressor.runs.control_verdict import judge_control, quality_of
from compressor.runs.datasets import Datasets
from compressor.runs.record import ControlModel, Timing
from tests.networks import seeded
from tests.runs.controlled import record_of, small

MACHINE = machine_facts()


def measurement(name, seconds, jitter=0.002):
    """Six processes, all a little off, each file in its own way."""
    generator = np.random.default_rng(len(name))
    samples = tuple(tuple(seconds * np.exp(jitter * generator.standard_normal(6))) for _ in range(6))
    return Measurement("onnxruntime:cpu", Path(name), "aa", 1, 1, samples, (), MACHINE, burst_size=1, session="one")


def timing(original, compressed, control, target="onnxruntime:cpu", jitter=0.002):
    base, after, third = (
        measurement(name, seconds, jitter) for name, seconds in (("o", original), ("co", compressed), ("con", control))
    )
    return Timing(target, base=base, compressed=after, comparison=compare(base, after), control=third)


@pytest.fixture
def judged():
    """The report's control after the last stage."""

    def run(*timings, percent=None, compressed=None, n_images=10_000, data=None, **control):
        record = record_of(control="my:control", control_accuracy=None if percent is None else percent / 100)
        given = {"module": small(), "unmeasured": "its weights are random", **control}
        record.control = ControlModel("my:control", "architecture", "built with random weights", **given)
        record.timings = list(timings)
        if compressed is not None:
            record.accuracy = [AccuracyRow("dense", 95.0, n_images), AccuracyRow("cut", compressed, n_images)]
        judge_control(record, data or Datasets())
        return record.control_result

    return run


def test_nothing_without_a_control():
    record = record_of()
    judge_control(record, Datasets())
    assert record.control_result is None and not record.stages


def test_faster_and_as_good_is_said_first(judged):
    found = judged(timing(2e-3, 1e-3, 0.8e-3), percent=93.5, compressed=93.0)
    assert found.timings[0].verdict == "at least as fast" and found.quality == "at least as good"
    assert found.timings[0].ratio == pytest.approx(1.25, rel=0.01)
    assert found.timings[0].original_ratio == pytest.approx(2.5, rel=0.01)
    assert found.finding.startswith(
        "The control my:control is at least as fast and as good as the compressed model: 1.2"
    )
    assert "93.50 % against 93.00 % top-1. Use it instead" in found.finding
    assert found.macs == 8 * 3 * 9 * 36 + 8 * 3 and found.params == 3 * 8 * 9 + 8 + 8 * 3 + 3


def test_equally_fast_is_at_least_as_fast(judged):
    found = judged(timing(2e-3, 1e-3, 1e-3), percent=94.0, compressed=93.0)
    assert found.timings[0].verdict == "at least as fast" and found.finding


@pytest.mark.parametrize(
    ("control_s", "percent", "verdict", "quality"),
    [(1.2e-3, 95.0, "slower", "at least as good"), (0.8e-3, 80.0, "at least as fast", "worse")],
)
def test_slower_or_worse_is_no_finding(judged, control_s, percent, verdict, quality):
    found = judged(timing(2e-3, 1e-3, control_s), percent=percent, compressed=93.0)
    assert (found.timings[0].verdict, found.quality, found.finding) == (verdict, quality, "")


def test_times_that_cannot_be_told_apart_are_no_finding(judged):
    found = judged(timing(2e-3, 1e-3, 0.98e-3, jitter=0.4), percent=95.0, compressed=93.0)
    low, high = found.timings[0].interval
    assert low < 1 / 1.02 < high and found.timings[0].verdict == "cannot be told" and not found.finding


def test_without_accuracies_only_the_time_is_said(judged):
    found = judged(timing(2e-3, 1e-3, 0.8e-3))
    assert found.top1_percent is None and found.quality == "unknown"
    assert "is at least as fast as the compressed model" in found.finding and "as good as" not in found.finding
    assert "Whether it is as good is unknown: its accuracy is, because its weights are random." in found.finding
    found = judged(timing(2e-3, 1e-3, 0.8e-3), percent=93.0)
    assert "the compressed model's accuracy was not measured. Add --val." in found.finding


def test_targets_on_which_it_is_slower_are_named(judged):
    other = timing(2e-3, 1e-3, 1.5e-3, "openvino:cpu")
    found = judged(timing(2e-3, 1e-3, 0.8e-3), other, Timing("torch:cpu", unavailable="gone"))
    assert "on onnxruntime:cpu, but not on openvino:cpu." in found.finding
    assert found.timings[2].unavailable == "gone" and found.timings[2].stats is None


def test_a_control_that_was_not_timed(judged):
    alone = replace(timing(2e-3, 1e-3, 1e-3), control=None, control_unavailable="its operator is unknown")
    found = judged(alone)
    assert found.timings[0].unavailable == "its operator is unknown" and not found.finding


@pytest.mark.parametrize(
    ("control", "n_control", "compressed", "n_compressed", "quality"),
    [
        (93.0, 0, 93.0, 100, "at least as good"),
        (91.0, 0, 93.0, 100, "at least as good"),  # 2 points of 100 images are nothing
        (91.0, 0, 93.0, 10_000, "worse"),
        (92.5, 10_000, 93.0, 10_000, "at least as good"),
        (92.0, 10_000, 93.0, 10_000, "worse"),
        (None, 0, 93.0, 100, "unknown"),
    ],
)
def test_intervals_of_accuracies(control, n_control, compressed, n_compressed, quality):
    assert quality_of(control, n_control, AccuracyRow("cut", compressed, n_compressed)) == quality
    assert quality_of(control, n_control, None) == "unknown"


def test_a_difference_that_the_images_cannot_tell_is_said(judged):
    found = judged(timing(2e-3, 1e-3, 0.8e-3), percent=92.0, compressed=93.0, n_images=500)
    assert "92.00 % against 93.00 % top-1, which 500 images cannot tell apart." in found.finding


class TestMeasured:
    @pytest.fixture
    def images(self):
        pixels = torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        return pixels, small()(pixels).argmax(1)  # what another small network answers

    def test_with_weights_of_its_own(self, judged, images):
        pixels, _ = images
        module = seeded(small)
        with torch.no_grad():
            right = module(pixels).argmax(1)
        wrong = (right + (torch.arange(40) < 10)) % 3  # 10 of 40 labels are others
        val = from_batches([(pixels, wrong)], name="val")
        found = judged(data=Datasets(val=val), module=module, unmeasured="")
        assert (found.top1_percent, found.accuracy_from, found.n_images) == (75.0, "measured", 40)

    def test_random_weights_are_not_measured(self, judged, images):
        found = judged(data=Datasets(val=from_batches([images], name="val")))
        assert found.top1_percent is None and found.accuracy_from == "its weights are random"

    def test_what_is_given_wins(self, judged, images):
        found = judged(data=Datasets(val=from_batches([images], name="val")), unmeasured="", percent=12.5)
        assert (found.top1_percent, found.accuracy_from, found.n_images) == (12.5, "--control-accuracy", 0)

    def test_without_labels_it_is_unknown(self, judged, images):
        found = judged(data=Datasets(val=from_batches([images[0]], name="val")), unmeasured="")
        assert found.top1_percent is None and "no labels" in found.accuracy_from
        assert "no validation images" in judged(unmeasured="").accuracy_from

    def test_images_are_normalised_as_the_control_wants_them(self, judged, tmp_path):
        stored = np.random.default_rng(0).integers(0, 256, (64, 3, 8, 8), dtype=np.uint8)
        module = seeded(small)
        own = Preprocessing((0.2, 0.3, 0.4), (0.05, 0.5, 2.0), (8, 8), 3, 255.0, "")
        with torch.no_grad():
            labels = module(own.apply(torch.from_numpy(stored))).argmax(1)
        np.savez(tmp_path / "val.npz", images=stored, labels=labels.numpy())
        val = open_dataset(tmp_path / "val.npz")
        facts = {"mean": list(own.mean), "std": list(own.std)}
        given = {"module": module, "unmeasured": "", "data": Datasets(val=val)}
        assert judged(preprocessing=facts, **given).top1_percent == 100.0
        assert judged(**given).top1_percent < 100.0  # the test tells something
        assert val.preprocessing.mean != own.mean
