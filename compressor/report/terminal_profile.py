"""What `compress profile` found, as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.text import Text

from compressor.core.scenario import Scenario
from compressor.report import units, wording
from compressor.report.console import STYLES, heading, say, table, text
from compressor.report.profile_rows import ProfileRow, names_of, rows_of
from compressor.report.profile_schema import Profile
from compressor.report.profile_wording import ENERGY_SAID, LOADGEN_SAID, MEMORY_SAID, warnings_of
from compressor.report.terminal import print_measurements


def print_profiles(profiles: Sequence[Profile], console: Console) -> None:
    """One table a target; with several threads or batch sizes a grid."""
    for target, group in groupby(profiles, key=lambda profile: profile.target):
        settings = list(group)
        if len(settings) == 1:
            print_measurements(settings[0].measurements, settings[0].comparisons, console)
        else:
            _print_grid(target, settings, console)
        _print_starts([row for profile in settings for row in rows_of(profile)], len(settings) > 1, console)
        _print_scenarios(settings, console)


def _print_grid(target: str, profiles: Sequence[Profile], console: Console) -> None:
    heading(console, f"Latency on {target} (median; ratio to the first file, 95 % interval)")
    compared = any(profile.comparisons for profile in profiles)
    more = ("ratio>", "interval>", "verdict*") if compared else ("p90>", "p99>", "samples>")
    made = table("threads>", "batch>", "file", "median>", "inputs/s>", *more)
    for profile in profiles:
        for row in rows_of(profile):
            made.add_row(
                *_setting(row),
                text(row.name, console, 14 if compared else 24),
                units.milliseconds(row.median_ms),
                units.rate(row.per_s),
                *(_compared(row, console) if compared else _spread(row)),
            )
    console.print(made)
    for warning, places in warnings_of(profiles):
        say(console, f"Note: {'; '.join(places) + ': ' if places else ''}{warning}")


def _setting(row: ProfileRow) -> list[str]:
    """Said once, in the row of the first file."""
    return [str(row.threads), str(row.batch_size)] if row.is_base else ["", ""]


def _compared(row: ProfileRow, console: Console) -> list[str | Text]:
    found = row.comparison
    if found is None:
        return ["", "", ""]
    ratio, low, high = units.ratios(found.ratio, *found.interval)
    verdict = text(found.verdict, console, style=STYLES[wording.tone_of(found.verdict)])
    return [f"{ratio}x", f"{low} - {high}", verdict]


def _spread(row: ProfileRow) -> list[str | Text]:
    return [units.milliseconds(row.p90_ms), units.milliseconds(row.p99_ms), f"{row.n_samples:,}"]


def _print_starts(rows: Sequence[ProfileRow], grid: bool, console: Console) -> None:
    started = [(row, row.startup) for row in rows if row.startup is not None]
    if not started:
        return
    n = min(len(startup.starts) for _, startup in started)
    heading(console, f"Started alone (median of {n} fresh processes)" if n > 1 else "Started alone in a fresh process")
    with_energy = any(startup.energy_j is not None for _, startup in started)
    settings = ("threads>", "batch>") if grid else ()
    energy = ("energy>",) if with_energy else ()
    rate = () if grid else ("inputs/s>",)  # the grid has it
    made = table(*settings, "file", "size>", "load>", "first>", *rate, "memory>", "runtime>", *energy)
    for row, startup in started:
        figures = [units.milliseconds(startup.load_s * 1000), units.milliseconds(startup.first_s * 1000)]
        figures += [] if grid else [units.rate(row.per_s)]
        figures += [units.size(n) if n is not None else "" for n in (startup.memory_bytes, startup.runtime_bytes)]
        if with_energy:
            figures.append(units.joules(startup.energy_j) if startup.energy_j is not None else "")
        width = 14 if grid else 20
        setting = _setting(row) if grid else []
        made.add_row(
            *setting,
            text(row.name, console, width),
            units.size(startup.file_bytes),
            *(text(figure, console) for figure in figures),
        )
    console.print(made)
    say(console, MEMORY_SAID)
    if with_energy:
        say(console, ENERGY_SAID)


def _print_scenarios(profiles: Sequence[Profile], console: Console) -> None:
    found = [(one, name) for profile in profiles for one, name in _named(profile)]
    if not found:
        return
    heading(console, "MLPerf LoadGen")
    made = table("threads>", "batch>", "file", "scenario", "result>", "samples>", "valid")
    for one, name in found:
        made.add_row(
            str(one.threads),
            str(one.batch_size),
            text(name, console, 14),
            one.scenario,
            f"{units.rate(one.value)} {'ms' if one.unit.startswith('ms') else '/s'}",
            f"{one.n_samples:,}",
            "yes" if one.valid else text("no", console, style="red"),
        )
    console.print(made)
    say(console, LOADGEN_SAID.format(found[0][0].min_seconds))


def _named(profile: Profile) -> list[tuple[Scenario, str]]:
    paths = [one.path for one in profile.measurements]
    names = dict(zip(paths, names_of(paths), strict=True))
    return [(one, names[one.path]) for one in profile.scenarios]
