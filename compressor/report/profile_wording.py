"""What a profile's numbers say, as sentences."""

from __future__ import annotations

from collections.abc import Sequence

from compressor.core.measurement import Comparison
from compressor.report import units
from compressor.report.profile_rows import ProfileRow, rows_of
from compressor.report.profile_schema import Profile
from compressor.report.wording import BAD, FASTER, GOOD, NEUTRAL, SLOWER, Speed

_LISTED = 2
LOAD_SAID = "Load is from the file to a session that can infer."
MEMORY_SAID = "Memory is the peak of a fresh process that holds the file alone, less what the bare runtime takes."
ENERGY_SAID = "Energy is per inference, of the whole processor and whatever else ran on it."
LOADGEN_SAID = (
    "LoadGen asked and kept the time, for {:g} s at least; a result for MLPerf takes ten minutes and its own rules. "
    "Its Python binding adds some tens of microseconds to each answer."
)


def setting_of(threads: int, batch_size: int) -> str:
    """What was the same for all files.

    >>> setting_of(1, 8), setting_of(2, 1)
    ('1 thread, batch 8', '2 threads, batch 1')
    """
    return f"{threads} thread{'' if threads == 1 else 's'}, batch {batch_size}"


def headline(profiles: Sequence[Profile]) -> Speed:
    """One line over everything: which file is faster; of a lone file, its shortest time and its largest throughput."""
    rows = [row for profile in profiles for row in rows_of(profile)]
    others = list(dict.fromkeys(row.name for row in rows if not row.is_base))
    if not others:
        return _alone(rows)
    if len(others) > 1:
        return Speed(f"{len(others) + 1} files, {_settings(len(profiles))}", "", NEUTRAL)
    compared = [row.comparison for row in rows if row.comparison is not None]
    base = next(row.name for row in rows if row.is_base)
    answer, tone = _verdict(compared)
    where = f", {_settings(len(compared))}" if len(compared) > 1 else ""
    return Speed(f"{others[0]}: {answer}{where}", f"against {base}", tone)


def warnings_of(profiles: Sequence[Profile]) -> list[tuple[str, list[str]]]:
    """Warnings, each with the settings that it is about (their number, where many); none: it is about all."""
    found: dict[str, list[str]] = {}
    for profile in profiles:
        for row in rows_of(profile):
            for warning in row.comparison.warnings if row.comparison else ():
                where = f"{row.target}, {setting_of(row.threads, row.batch_size)}"
                places = found.setdefault(warning, [])
                if where not in places:
                    places.append(where)
    return [(warning, _shortened(places, len(profiles))) for warning, places in found.items()]


def _shortened(places: list[str], n: int) -> list[str]:
    if len(places) == n:
        return []
    return places if len(places) <= _LISTED else [f"{len(places)} of {n} settings"]


def _alone(rows: Sequence[ProfileRow]) -> Speed:
    quickest, busiest = min(rows, key=lambda row: row.median_ms), max(rows, key=lambda row: row.per_s)
    most = f"{units.rate(busiest.per_s)} inputs per second"
    if len(rows) == 1:
        return Speed(f"{units.milliseconds(quickest.median_ms)} per inference", most, NEUTRAL)
    where = f"{busiest.target} with {setting_of(busiest.threads, busiest.batch_size)}"
    return Speed(f"From {units.milliseconds(quickest.median_ms)} per inference", f"up to {most} on {where}", NEUTRAL)


def _verdict(compared: Sequence[Comparison]) -> tuple[str, str]:
    n, n_faster = len(compared), sum(one.verdict == FASTER for one in compared)
    n_slower = sum(one.verdict == SLOWER for one in compared)
    if n_faster == n:
        low, high = units.ratios(min(one.ratio for one in compared), max(one.ratio for one in compared))
        between = f"{low}×" if low == high else f"{low} to {high}×"
        return f"{between} faster", GOOD
    if n_slower == n:
        return "slower", BAD
    if not n_faster and not n_slower:
        return "no significant difference", NEUTRAL
    slower = f", slower in {n_slower}" if n_slower else ""
    return f"faster in {n_faster}{slower}", NEUTRAL if n_faster else BAD


def _settings(n: int) -> str:
    return f"{n} setting{'' if n == 1 else 's'}"
