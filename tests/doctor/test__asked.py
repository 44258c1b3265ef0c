from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.planted import Network
from compressor.doctor._asked import asked_of


def network() -> Network:
    made = Network((1, 4, 8, 8))
    made.convolution(4, 4)
    return made


@pytest.mark.parametrize(
    ("config", "asked"),
    [
        ('{"session_options": {"execution_mode": 1}}', {"throughput": True}),
        ('{"session_options": {"execution_mode": 0}}', {}),
        ('{"session_options": 3}', {}),
        ("not json", {}),
    ],
)
def test_what_an_onnx_file_asks_for(tmp_path: Path, config: str, asked: dict[str, bool]) -> None:
    assert asked_of(network().save(tmp_path / "net.onnx", {"ort_config": config})) == asked
    assert asked_of(network().save(tmp_path / "silent.onnx")) == {}


@pytest.mark.parametrize(("hint", "asked"), [("THROUGHPUT", {"throughput": True}), ("LATENCY", {}), (None, {})])
def test_what_an_openvino_file_asks_for(tmp_path: Path, hint: str | None, asked: dict[str, bool]) -> None:
    openvino = pytest.importorskip("openvino")
    model = openvino.convert_model(network().save(tmp_path / "net.onnx"))
    if hint is not None:
        model.set_rt_info(hint, ["runtime_options", "PERFORMANCE_HINT"])
    openvino.save_model(model, tmp_path / "net.xml", compress_to_fp16=False)
    assert asked_of(tmp_path / "net.xml") == asked


def test_files_that_cannot_be_read_ask_for_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "broken.xml"
    broken.write_text("<net><layer")
    assert asked_of(broken) == {}
    assert json.dumps(asked_of(tmp_path / "none.pt2")) == "{}"
