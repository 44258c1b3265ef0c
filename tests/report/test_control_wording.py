from __future__ import annotations

from dataclasses import replace

import pytest

from compressor.report.control_wording import accuracy_of, finding_of
from compressor.report.schema import AccuracyRow, Control, Report


@pytest.fixture
def control(reports: dict[str, Report]) -> Control:
    found = reports["controlled"].control
    assert found is not None
    return found


COMPRESSED = AccuracyRow("finetune", 91.21, 10_000)


def test_as_fast_and_as_good(control: Control) -> None:
    assert finding_of(control, COMPRESSED) == (
        "The control timm:resnet14t is at least as fast and as good as the compressed model: 1.004x as fast "
        "[0.991, 1.017] on onnxruntime:cpu, but not on openvino:cpu; 91.40 % against 91.21 % top-1. "
        "Use it instead, or ask for less."
    )


def test_what_is_unknown_is_said(control: Control) -> None:
    unknown = replace(control, quality="unknown")
    assert finding_of(unknown, None).endswith(
        "openvino:cpu. Whether it is as good is unknown: the compressed model's accuracy was not measured. Add --val."
    )
    nothing = replace(unknown, top1_percent=None, accuracy_from="it was not trained")
    assert finding_of(nothing, COMPRESSED).endswith(
        "its accuracy is, because it was not trained. Give it with --control-accuracy if you know it."
    )


def test_what_is_slower_or_worse_is_no_finding(control: Control) -> None:
    assert finding_of(replace(control, quality="worse"), COMPRESSED) == ""
    slower = tuple(replace(row, verdict="slower") for row in control.timings)
    assert finding_of(replace(control, timings=slower), COMPRESSED) == ""


def test_a_quality_needs_two_accuracies(control: Control) -> None:
    with pytest.raises(ValueError, match="two accuracies"):
        finding_of(control, None)


def test_where_an_accuracy_comes_from(control: Control) -> None:
    assert accuracy_of(control) == "91.40 %, as given with --control-accuracy"
    assert accuracy_of(replace(control, n_images=1)) == "91.40 %, measured on 1 image"
    assert accuracy_of(replace(control, top1_percent=None, accuracy_from="x")) == "unknown, because x"
