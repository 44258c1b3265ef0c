"""From coverage to what `compress inspect` shows."""

from __future__ import annotations

from compressor.core.groups import Coverage
from compressor.report.inspection import Inspection
from compressor.runs.record import Source
from compressor.runs.summary import group_rows, weight_bytes


def inspection_of(source: Source, coverage: Coverage) -> Inspection:
    """The model, its inputs and its groups as plain data."""
    return Inspection(
        model=source.name,
        inputs={n: tuple(t.shape) for n, t in zip(source.inputs.names, source.inputs.tensors, strict=True)},
        inputs_from=source.inputs_from,
        macs=coverage.cost.macs,
        params=coverage.cost.params,
        weight_bytes=weight_bytes(source.module),
        prunable_macs_share=coverage.prunable_macs_share,
        groups=group_rows(coverage),
    )
