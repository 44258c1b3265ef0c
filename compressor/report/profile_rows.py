"""A profile as rows, one a file and setting, for the terminal's tables and the page."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compressor.core.measurement import Comparison, Measurement
from compressor.core.startup import Startup
from compressor.report.profile_schema import Profile


@dataclass(frozen=True)
class ProfileRow:
    """One file on one target in one setting."""

    target: str
    threads: int
    batch_size: int
    name: str  # of the file, as short as it tells the files apart
    is_base: bool  # the file that the others are compared with
    median_ms: float
    p90_ms: float
    p99_ms: float
    n_samples: int
    startup: Startup | None
    comparison: Comparison | None  # with the base

    @property
    def per_s(self) -> float:
        """Inputs per second, at the median: inferences per second times batch."""
        return self.batch_size * 1000 / self.median_ms


def rows_of(profile: Profile) -> list[ProfileRow]:
    """In the order of the files."""
    names = names_of([one.path for one in profile.measurements])
    startups: Sequence[Startup | None] = profile.startups or [None] * len(names)
    compared: Sequence[Comparison | None] = [None, *profile.comparisons]
    return [
        _row(profile, one, name, number == 0, startup, comparison)
        for number, (one, name, startup, comparison) in enumerate(
            zip(profile.measurements, names, startups, compared, strict=True)
        )
    ]


def names_of(paths: Sequence[Path]) -> list[str]:
    """File names; whole paths where two files have one name.

    >>> names_of([Path("a/model.onnx"), Path("b/model.onnx")]), names_of([Path("a/x.onnx"), Path("b/y.onnx")])
    (['a/model.onnx', 'b/model.onnx'], ['x.onnx', 'y.onnx'])
    """
    short = [path.name for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]


def percentiles_ms(samples_s: Sequence[float], *ranks: int) -> list[float]:
    """In milliseconds; interpolated between neighbours. A lone sample stands for all of them."""
    cuts = statistics.quantiles([*samples_s] * 2 if len(samples_s) == 1 else samples_s, n=100, method="inclusive")
    return [cuts[rank - 1] * 1000 for rank in ranks]


def _row(
    profile: Profile,
    one: Measurement,
    name: str,
    is_base: bool,
    startup: Startup | None,
    comparison: Comparison | None,
) -> ProfileRow:
    median, p90, p99 = percentiles_ms(one.samples_s, 50, 90, 99)
    return ProfileRow(
        target=profile.target,
        threads=one.threads,
        batch_size=one.batch_size,
        name=name,
        is_base=is_base,
        median_ms=median,
        p90_ms=p90,
        p99_ms=p99,
        n_samples=len(one.samples_s),
        startup=startup,
        comparison=comparison,
    )
