from __future__ import annotations

import pytest

from compressor.report.terminal_profile import labels_of, print_profiles
from tests.report.profiles import BUSY, NOISY, PROFILES
from tests.report.test_terminal import console, text_of, words


def printed(name: str, **options: object) -> str:
    page, stream = console(**options)  # type: ignore[arg-type]
    print_profiles(PROFILES[name]().profiles, page)
    return text_of(stream)


@pytest.mark.parametrize("name", PROFILES)
def test_it_fits_80_columns_in_any_encoding(name: str) -> None:
    assert all(len(line) <= 80 for line in printed(name).splitlines())
    assert all(len(line) <= 80 for line in printed(name, encoding="ascii").splitlines())


def test_a_grid_says_each_setting_once_and_every_file() -> None:
    text = words(printed("grid"))
    assert "Latency on onnxruntime:cpu" in text and "Latency on openvino:cpu" in text
    assert text.count("1 8 resnet20.onnx") == 2 * 2  # latency and start, on both targets
    assert text.count("0.98 - 1.11 unclear") == 2
    assert NOISY in text and text.count(BUSY) == 2  # once a target
    assert "5.25 mJ" in text and "per inference" in text
    assert "SingleStream" in text and "1.23 k /s 3,301 no" in text


def test_one_setting_keeps_the_detailed_table() -> None:
    text = words(printed("lone"))
    assert "median p90 p99 samples" in text and "threads batch" not in text
    assert "Started alone in a fresh process" in text and "energy" not in text.lower()


def test_files_that_look_alike_are_numbered() -> None:
    text = words(printed("many"))
    for number, place in enumerate("abcd", 1):
        assert f"{number} is runs/2026-11/{place}/resnet152_faster_rcnn_epoch_0113.onnx" in text
        assert f"{number} runs" in text


def test_a_name_that_begins_with_a_number_is_no_number() -> None:
    assert labels_of(["1 a.onnx", "b.onnx"], 14) == {"1 a.onnx": "1 a.onnx", "b.onnx": "b.onnx"}
