"""Files on targets, layer by layer, and examined by the doctor: for `compress profile`, and for a run's own files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from compressor.core.errors import CompressionError, InvalidOption
from compressor.core.findings import Diagnosis
from compressor.core.layers import LayerTable
from compressor.core.progress import Progress
from compressor.profiling.speeds import Speeds
from compressor.runs.anatomy import anatomy, layer_table
from compressor.runs.doctor import diagnose, falls_short
from compressor.runs.record import Record, Timing

_measured: dict[tuple[str, int], Speeds] = {}  # by target and threads: the machine does not change while we run


@dataclass(frozen=True)
class Examination:
    """One target."""

    layers: LayerTable
    diagnosis: Diagnosis | None  # None: the doctor was not asked


def examine(
    files: Sequence[Path],
    target: str,
    *,
    doctor: bool,
    threads: int = 1,
    batch_size: int = 1,
    shapes: Mapping[str, Sequence[int]] | None = None,
    progress: Progress | None = None,
) -> Examination:
    """One or two files: the second is set against the first, and is the doctor's patient.

    Args:
        files: that the target reads.
        target: "onnxruntime:cpu".
        doctor: whether to look for what makes the last file slow; up to a minute.
        threads: of the runtime.
        batch_size: samples per inference.
        shapes: {input name: full shape}, for inputs whose axes other than the batch are dynamic.
        progress: is told of the steps.

    Raises:
        CompressionError: the target cannot profile them; the sentence says why.
    """
    known = _measured.get((target, threads))
    with anatomy(
        target, files, threads=threads, batch_size=batch_size, shapes=shapes, progress=progress, speeds=known
    ) as examined:
        _measured[target, threads] = examined.speeds
        return Examination(layer_table(examined), diagnose(examined, progress) if doctor else None)


def examine_files(
    files: Sequence[Path],
    ratios: Mapping[str, float | None],
    *,
    doctor: bool,
    threads: int = 1,
    batch_size: int = 1,
    shapes: Mapping[str, Sequence[int]] | None = None,
    progress: Progress | None = None,
) -> list[Examination]:
    """`examine` for `compress profile`: one or two files on each target.

    Args:
        files: one, or before and after.
        ratios: {target: how many times as fast the second was when both were timed}; None with one file.
        doctor, threads, batch_size, shapes, progress: as for `examine`.

    Raises:
        InvalidOption: there are more than two files.
        CompressionError: a target cannot profile them.
    """
    if len(files) > 2:
        raise InvalidOption("profile", "FILE", "one or two files with --layers or --doctor", len(files))
    found = []
    for target, ratio in ratios.items():
        one = examine(
            files,
            target,
            doctor=doctor,
            threads=threads,
            batch_size=batch_size,
            shapes=shapes,
            progress=progress,
        )
        if one.diagnosis is not None:
            one = replace(one, diagnosis=replace(one.diagnosis, time_ratio=ratio))
        found.append(one)
    return found


def examine_run(record: Record) -> None:
    """Adds to the record where the time of its timed files goes, and what slows those that are slower than promised.

    A target whose runtime cannot be profiled is noted, and the run goes on.
    """
    for timing in record.timings:
        if timing.base is None or timing.compressed is None:
            continue
        try:
            _examine_timing(record, timing)
        except CompressionError as error:
            record.note(f"{timing.target} was not profiled layer by layer: {error}")


def _examine_timing(record: Record, timing: Timing) -> None:
    assert timing.base is not None and timing.compressed is not None
    options, inputs, plan = record.options, record.source.inputs, record.plan
    promised = plan.macs[0] / plan.macs[1] if plan is not None and plan.macs[1] else 1.0
    ratio = timing.comparison.ratio if timing.comparison is not None else promised
    found = examine(
        [timing.base.path, timing.compressed.path],
        timing.target,
        doctor=falls_short(promised, ratio),
        threads=options.threads,
        batch_size=options.batch_size,
        shapes={n: (options.batch_size, *t.shape[1:]) for n, t in zip(inputs.names, inputs.tensors, strict=True)},
        progress=record.progress,
    )
    record.layer_tables.append(found.layers)
    if found.diagnosis is not None:
        record.diagnoses.append(replace(found.diagnosis, macs_ratio=promised, time_ratio=ratio))
