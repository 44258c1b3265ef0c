"""Examines one or two files for every cause that the doctor knows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from statistics import median
from time import perf_counter

from compressor.core.errors import CompressionError
from compressor.core.findings import Diagnosis, Finding
from compressor.core.progress import Progress, SilentProgress
from compressor.doctor import CAUSES
from compressor.doctor._asked import asked_of
from compressor.doctor._case import CannotLook, Case
from compressor.profiling.work import work_of
from compressor.runs.anatomy import Anatomy
from compressor.targets import load_target

SHORT = 0.8  # of what the removed MACs promised: below, the doctor is called


def diagnose(examined: Anatomy, progress: Progress | None = None, causes: Sequence[str] = ()) -> Diagnosis:
    """Every cause, one experiment after the other; under a minute for a ResNet-50 on two cores.

    The last of the examined files is the patient; the one before it, if there is one, is what it was made from.

    Args:
        examined: whose lab is open.
        progress: is told of each cause.
        causes: that are looked for; none: all.
    """
    begin = perf_counter()
    *earlier, profile = examined.profiles
    before = earlier[0] if earlier else None
    options = frozenset(field.name for field in dataclasses.fields(load_target(profile.target)))
    case = Case(
        lab=examined.lab,
        file=profile.path,
        threads=examined.threads,
        profile=profile,
        speeds=examined.speeds,
        folder=examined.folder,
        options=options,
        before=before,
        asked=asked_of(profile.path),
    )
    findings: list[Finding] = []
    healthy: list[str] = []
    skipped: dict[str, str] = {}
    names = causes or CAUSES.names()
    with (progress or SilentProgress()).step(f"Looking for what slows {profile.path.name}", len(names)) as step:
        for name in names:
            try:
                found = CAUSES.load(name)().examine(case)
            except (CannotLook, CompressionError) as reason:
                skipped[name] = str(reason)
            else:
                findings += found
                if not found:
                    healthy.append(name)
            step.advance(1, name)
    findings.sort(key=lambda finding: -(finding.share or 0.0))
    return Diagnosis(
        target=profile.target,
        file=profile.path.name,
        threads=profile.threads,
        batch_size=profile.batch_size,
        findings=tuple(findings),
        healthy=tuple(healthy),
        skipped=skipped,
        seconds=perf_counter() - begin,
        macs_ratio=_macs(examined, 0) / _macs(examined, -1) if before and _macs(examined, -1) else None,
        time_ratio=median(before.whole_s) / median(profile.whole_s) if before else None,
    )


def falls_short(macs_ratio: float, time_ratio: float) -> bool:
    """Whether a measured speed-up is clearly less than the MACs that were removed promised."""
    return time_ratio < SHORT * macs_ratio


def _macs(examined: Anatomy, which: int) -> int:
    return sum(work_of(node).macs for node in examined.profiles[which].nodes)
