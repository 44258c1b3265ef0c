"""What the timed files cost beside their latency: each started alone, in fresh processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from compressor.core.errors import InvalidOption, ModelFileError, UnsupportedModel
from compressor.core.startup import Startup
from compressor.profiling.starts import start_files
from compressor.report.schema import FileFigures, LatencyRow
from compressor.runs.record import Record
from compressor.targets import factory_of


def start_pairs(record: Record) -> None:
    """Starts original and compressed file on every target that timed them; a target that cannot gets a note."""
    options, inputs = record.options, record.source.inputs
    n_bytes = {file.path: file.n_bytes for file in (*record.base_files, *record.files)}
    for timing in record.timings:
        if timing.base is None or timing.compressed is None:
            continue
        paths = [timing.base.path, timing.compressed.path]
        try:
            base, compressed = start_files(
                paths,
                [n_bytes[path] for path in paths],
                timing.target,
                factory_of(timing.target),
                threads=options.threads,
                batch_size=options.batch_size,
                shapes={
                    name: (options.batch_size, *tensor.shape[1:])
                    for name, tensor in zip(inputs.names, inputs.tensors, strict=True)
                },
                progress=record.progress,
            )
        except (InvalidOption, ModelFileError, UnsupportedModel) as error:  # the times are there all the same
            record.note(f"{timing.target}: load time and memory are unknown: {error}")
            continue
        record.startups[timing.target] = base, compressed


def with_figures(row: LatencyRow, startups: Mapping[str, tuple[Startup, Startup]]) -> LatencyRow:
    """The row with what its two files cost beside their latency, where that is known."""
    if row.target not in startups or row.base is None or row.compressed is None:
        return row
    base, compressed = startups[row.target]
    return replace(
        row,
        base_figures=_figures(base, row.base.median_ms),
        compressed_figures=_figures(compressed, row.compressed.median_ms),
    )


def _figures(startup: Startup, median_ms: float) -> FileFigures:
    return FileFigures(
        per_s=startup.batch_size * 1000 / median_ms,
        load_ms=startup.load_s * 1000,
        first_ms=startup.first_s * 1000,
        memory_bytes=startup.memory_bytes,
        runtime_bytes=startup.runtime_bytes,
        energy_j=startup.energy_j,
        starts=startup.starts,
    )
