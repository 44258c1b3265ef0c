"""A run's files started alone: what the report says of them, and a start that fails."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import compressor
from compressor.core.errors import UnsupportedModel


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 4)
    ).eval()


def report(**options: object) -> compressor.CompressedModel:
    given = {"method": "l1", "export": ["onnx"], "on": ["onnxruntime:cpu"], **options}
    return compressor.compress(network(), torch.randn(2, 1, 8, 8), **given).report()


def test_both_files_have_figures_on_a_real_runtime() -> None:
    found = report(batch_size=4)
    (row,) = found.latency
    for figures, stats in ((row.base_figures, row.base), (row.compressed_figures, row.compressed)):
        assert figures is not None and stats is not None
        assert figures.per_s == pytest.approx(4 * 1000 / stats.median_ms)
        assert figures.load_ms > 0 and figures.first_ms > 0 and len(figures.starts) >= 1
        assert figures.memory_bytes is None or 0 <= figures.memory_bytes < (figures.runtime_bytes or 0)


def test_times_stay_where_a_start_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise UnsupportedModel("onnxruntime:cpu: starting model.onnx failed: no memory.")

    monkeypatch.setattr("compressor.runs.starting.start_files", refuse)
    found = report()
    (row,) = found.latency
    assert row.ratio is not None and row.base_figures is None and row.compressed_figures is None
    assert any("load time and memory are unknown" in note for note in found.notes)
