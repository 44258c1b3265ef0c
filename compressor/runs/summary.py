"""From a run's record to its report."""

from __future__ import annotations

import datetime
import math
import shlex
from collections.abc import Sequence

from torch import nn

from compressor._version import __version__
from compressor.core.files import sha256_of
from compressor.core.groups import Coverage, Role
from compressor.core.measurement import Measurement
from compressor.core.options import ONE_A_FLAG, changed, flag
from compressor.core.plan import PruningPlan
from compressor.profiling.statistics import latency_stats
from compressor.report.schema import Count, CutCheck, FileRow, GroupRow, LatencyRow, ParityRow, Report, WidthRow
from compressor.runs.record import Record, Timing
from compressor.runs.sharing import without_folders
from compressor.runs.starting import with_figures
from exporters.types import Verification

DONE, DISAGREES, BUDGET_NOT_MET = 0, 6, 7
MAX_PLOTTED_SAMPLES = 400


def summarise(record: Record, small: nn.Module) -> Report:
    """Everything that a pipeline or a person reads of a run."""
    plan, coverage, source = record.plan, record.coverage, record.source
    if plan is None or coverage is None:
        raise RuntimeError("a report needs a finished plan")
    report = Report(
        model=source.name,
        source_sha256=source.sha256,
        command=command_of(record),
        method=plan.method,
        budget=plan.budget,
        budget_met=record.budget_met,
        exit_code=exit_code(record),
        macs=Count(*plan.macs),
        params=Count(*plan.params),
        weight_bytes=Count(weight_bytes(_whole(record)), weight_bytes(small)),
        prunable_macs_share=coverage.prunable_macs_share,
        inputs={name: tuple(t.shape) for name, t in zip(source.inputs.names, source.inputs.tensors, strict=True)},
        inputs_from=source.inputs_from,
        accuracy=tuple(record.accuracy),
        ladder=record.ladder,
        speed_search=record.speed_search,
        control=record.control_result,
        low_rank=record.low_rank,
        alternatives=record.alternatives,
        stages=tuple(record.stages),
        groups=group_rows(coverage, plan),
        widths=_widths(coverage, plan, source.module),
        cut_check=_cut_check(record),
        files=_files(record),
        parity=tuple(row for outcome in record.verifications for row in parity_rows(outcome)),
        latency=tuple(with_figures(_latency(timing), record.startups) for timing in record.timings),
        layers=tuple(record.layer_tables),
        doctor=tuple(record.diagnoses),
        machine=record.machine,
        notes=tuple(record.notes),
        options=dict(changed(record.options)),
        preprocessing=dict(source.preprocessing),
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        compressor_version=__version__,
    )
    return without_folders(report, record.options)


def _whole(record: Record) -> nn.Module:
    """The model before layers were split and channels cut."""
    return (record.whole.source if record.whole is not None else record.source).module


def exit_code(record: Record) -> int:
    """0, or why a pipeline should stop although everything was written."""
    if not all(outcome.passed for outcome in record.verifications):
        return DISAGREES
    dropped = record.ladder is not None and not record.ladder.reached
    return BUDGET_NOT_MET if dropped or not record.budget_met else DONE


def command_of(record: Record) -> str:
    """The command line that makes this run again; empty for a model that was given from Python."""
    if not record.options.model:
        return ""
    words = ["compress"]
    repeated = {"arch_args", "control_args", "allow", "input", "ignore", *ONE_A_FLAG}
    for name, value in changed(record.options).items():
        spelled = flag(name)
        if name == "model":
            continue
        if value is True:
            words.append(spelled)
        elif name in repeated:
            words += [word for item in value for word in (spelled, str(item))]
        else:
            words += [spelled, ",".join(str(v) for v in value) if isinstance(value, tuple) else str(value)]
    words += ["-o", str(record.options.output_folder), record.options.model]
    return shlex.join(words)


def group_rows(coverage: Coverage, plan: PruningPlan | None = None) -> tuple[GroupRow, ...]:
    """Coverage as rows: what may leave first, then what may not and why."""
    total = coverage.cost.macs or 1
    rows = []
    for group in coverage.groups:
        planned = plan.groups.get(group.name) if plan else None
        n_kept = len(planned.keep) if planned else group.n_channels
        share = coverage.group_macs[group.name] / total
        rows.append(GroupRow(group.name, group.n_channels, n_kept, share, len(group.members), kind=group.kind))
    rows += [
        GroupRow(b.name, b.n_channels, b.n_channels, b.macs / total, len(b.layers), b.reason) for b in coverage.blocked
    ]
    return tuple(rows)


def _widths(coverage: Coverage, plan: PruningPlan, model: nn.Module) -> tuple[WidthRow, ...]:
    kinds = {m.layer: m.kind for g in coverage.groups for m in g.members if m.role is not Role.CONSUMER}
    order = {name: i for i, (name, _) in enumerate(model.named_modules())}
    rows = [
        WidthRow(change.layer, kinds.get(change.layer, ""), change.before, change.after)
        for change in plan.attributes
        if change.attribute in ("out_channels", "out_features", "embedding_dim")
        and isinstance(change.before, int)
        and isinstance(change.after, int)
    ]
    return tuple(sorted(rows, key=lambda row: order[row.layer]))


def _cut_check(record: Record) -> CutCheck | None:
    found = record.difference
    return CutCheck(found.max_abs, found.max_rel, found.tolerance, found.dtype) if found else None


def _files(record: Record) -> tuple[FileRow, ...]:
    base = {file.format: file.n_bytes for file in record.base_files}
    rows = []
    for file in record.files:
        companions = {companion.name: sha256_of(companion) for companion in file.companions}
        base_bytes = base.get(file.format, 0)
        rows.append(
            FileRow(file.path.name, file.format, file.n_bytes, base_bytes, file.sha256, file.details, companions)
        )
    return tuple(rows)


def parity_rows(outcome: Verification) -> list[ParityRow]:
    """One row per comparison, and one for a file that could not be compared."""
    name = outcome.path.name
    rows = [
        ParityRow(name, outcome.format, c.batch_size, c.inputs, c.max_abs_error, c.max_rel_error, c.passed)
        for c in outcome.checks
    ]
    return [*rows, failed_row(name, outcome.format, outcome.failure)] if outcome.failure else rows


def failed_row(name: str, format_name: str, reason: str) -> ParityRow:
    """A file that could not be compared."""
    return ParityRow(name, format_name, 0, reason, float("inf"), float("inf"), passed=False)


def _latency(timing: Timing) -> LatencyRow:
    if timing.base is None or timing.compressed is None or timing.comparison is None:
        return LatencyRow(timing.target, unavailable=timing.unavailable)
    found = timing.comparison
    known = all(map(math.isfinite, (found.ratio, *found.interval)))  # JSON has no NaN
    return LatencyRow(
        target=timing.target,
        batch_size=timing.base.batch_size,
        threads=timing.base.threads,
        base=latency_stats(timing.base.samples_s),
        compressed=latency_stats(timing.compressed.samples_s),
        ratio=found.ratio if known else None,
        interval=found.interval if known else None,
        verdict=found.verdict,
        base_samples_ms=_thinned(timing.base),
        compressed_samples_ms=_thinned(timing.compressed),
        details=timing.compressed.details,
        warnings=found.warnings,
    )


def _thinned(measurement: Measurement) -> tuple[float, ...]:
    samples: Sequence[float] = measurement.samples_s
    stride = max(1, -(-len(samples) // MAX_PLOTTED_SAMPLES))
    return tuple(sample * 1000 for sample in samples[::stride])


def weight_bytes(module: nn.Module) -> int:
    """Bytes of all parameters and buffers."""
    return sum(t.numel() * t.element_size() for t in [*module.parameters(), *module.buffers()])
