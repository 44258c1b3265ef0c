"""What `compress profile` found, as tables for the terminal."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.text import Text

from compressor.core.scenario import Scenario
from compressor.core.startup import Startup
from compressor.report import units, wording
from compressor.report.console import STYLES, heading, say, table, text
from compressor.report.profile_rows import ProfileRow, names_of, rows_of
from compressor.report.profile_schema import Profile
from compressor.report.profile_wording import ENERGY_SAID, LOAD_SAID, LOADGEN_SAID, MEMORY_SAID, warnings_of
from compressor.report.terminal import print_measurements

_UNCLEAR = "unclear"  # in the place of "no significant difference"; notes below say what it would take
_NAME = 14  # characters of a file's name where a row has much else to say


def print_profiles(profiles: Sequence[Profile], console: Console) -> None:
    """One table a target; with several threads or batch sizes a grid."""
    for target, group in groupby(profiles, key=lambda profile: profile.target):
        settings = list(group)
        rows = [row for profile in settings for row in rows_of(profile)]
        if len(settings) == 1:
            print_measurements(settings[0].measurements, settings[0].comparisons, console)
        else:
            _print_grid(target, rows, console)
            for warning, places in warnings_of(settings):
                say(console, f"Note: {'; '.join(places) + ': ' if places else ''}{warning}")
        _print_starts(rows, len(settings) > 1, console)
        _print_scenarios(settings, console)


def labels_of(names: Sequence[str], width: int) -> dict[str, str]:
    """Names, their middle left out where they are long; numbered where they would look alike.

    >>> labels_of(["runs/a/model.onnx", "runs/b/model.onnx"], 12)
    {'runs/a/model.onnx': '1 runs….onnx', 'runs/b/model.onnx': '2 runs….onnx'}
    """
    different = list(dict.fromkeys(names))
    short = [units.middle(name, width) for name in different]
    if len(set(short)) < len(short):
        short = [units.middle(f"{i} {units.middle(name, width - 2)}", width) for i, name in enumerate(different, 1)]
    return dict(zip(different, short, strict=True))


def _print_grid(target: str, rows: Sequence[ProfileRow], console: Console) -> None:
    compared = any(row.comparison is not None for row in rows)
    against = "; ratio to the first file, 95 % interval" if compared else ""
    heading(console, f"Latency on {target} (median{against})")
    labels = labels_of([row.name for row in rows], _NAME)
    more = ("ratio>", "interval>", "verdict") if compared else ("p90>", "p99>", "samples>")
    made = table("threads>", "batch>", "file", "median>", "inputs/s>", *more)
    for row in rows:
        made.add_row(
            *_setting(row),
            text(labels[row.name], console),
            units.milliseconds(row.median_ms),
            units.rate(row.per_s),
            *(_compared(row, console) if compared else _spread(row)),
        )
    console.print(made)
    _say_numbers(labels, console)


def _setting(row: ProfileRow) -> list[str]:
    """Said once, in the row of the first file."""
    return [str(row.threads), str(row.batch_size)] if row.is_base else ["", ""]


def _compared(row: ProfileRow, console: Console) -> list[str | Text]:
    found = row.comparison
    if found is None:
        return ["", "", ""]
    ratio, low, high = units.ratios(found.ratio, *found.interval)
    word = found.verdict if found.verdict in (wording.FASTER, wording.SLOWER) else _UNCLEAR
    verdict = text(word, console, style=STYLES[wording.tone_of(found.verdict)])
    return [f"{ratio}x", f"{low} - {high}", verdict]


def _spread(row: ProfileRow) -> list[str | Text]:
    return [units.milliseconds(row.p90_ms), units.milliseconds(row.p99_ms), f"{row.n_samples:,}"]


def _print_starts(rows: Sequence[ProfileRow], grid: bool, console: Console) -> None:
    started = [(row, row.startup) for row in rows if row.startup is not None]
    if not started:
        return
    startups = [startup for _, startup in started]
    n = min(len(startup.starts) for startup in startups)
    heading(console, f"Started alone (median of {n} fresh processes)" if n > 1 else "Started alone in a fresh process")
    labels = labels_of([row.name for row, _ in started], _NAME)
    columns = _start_columns(startups)
    settings, rate = (("threads>", "batch>"), ()) if grid else ((), ("inputs/s>",))  # the grid has it above
    made = table(*settings, "file", *rate, *columns)
    for number, (row, _) in enumerate(started):
        made.add_row(
            *(_setting(row) if grid else ()),
            text(labels[row.name], console),
            *(() if grid else (units.rate(row.per_s),)),
            *(text(column[number], console) for column in columns.values()),
        )
    console.print(made)
    _say_numbers(labels, console)
    say(console, _explained(startups))


def _start_columns(startups: Sequence[Startup]) -> dict[str, list[str]]:
    """Header -> cells; what no start tells has no column."""
    columns = {
        "size>": [units.size(one.file_bytes) for one in startups],
        "load>": [units.milliseconds(one.load_s * 1000) for one in startups],
        "first>": [units.milliseconds(one.first_s * 1000) for one in startups],
    }
    memory, energy = [one.memory_bytes for one in startups], [one.energy_j for one in startups]
    if any(n is not None for n in memory):
        columns["memory>"] = ["" if n is None else units.size(n) for n in memory]
    if any(joules is not None for joules in energy):
        columns["energy>"] = ["" if joules is None else units.joules(joules) for joules in energy]
    return columns


def _explained(startups: Sequence[Startup]) -> str:
    sentences = [LOAD_SAID]
    runtime = [one.runtime_bytes for one in startups if one.runtime_bytes is not None]
    if runtime:
        sentences.append(f"{MEMORY_SAID.removesuffix('.')} ({units.size(statistics.median(runtime))}).")
    if any(one.energy_j is not None for one in startups):
        sentences.append(ENERGY_SAID)
    return " ".join(sentences)


def _print_scenarios(profiles: Sequence[Profile], console: Console) -> None:
    found = [(one, name) for profile in profiles for one, name in _named(profile)]
    if not found:
        return
    heading(console, "MLPerf LoadGen")
    labels = labels_of([name for _, name in found], _NAME)
    made = table("threads>", "batch>", "file", "scenario", "result>", "samples>", "valid")
    for one, name in found:
        made.add_row(
            str(one.threads),
            str(one.batch_size),
            text(labels[name], console),
            one.scenario,
            f"{units.rate(one.value)} {'ms' if one.unit.startswith('ms') else '/s'}",
            f"{one.n_samples:,}",
            "yes" if one.valid else text("no", console, style="red"),
        )
    console.print(made)
    _say_numbers(labels, console)
    say(console, LOADGEN_SAID.format(found[0][0].min_seconds))


def _named(profile: Profile) -> list[tuple[Scenario, str]]:
    paths = [one.path for one in profile.measurements]
    names = dict(zip(paths, names_of(paths), strict=True))
    return [(one, names[one.path]) for one in profile.scenarios]


def _say_numbers(labels: dict[str, str], console: Console) -> None:
    """What the numbers stand for, where names had to be numbered."""
    for number, (name, label) in enumerate(labels.items(), 1):
        if label != name and label.startswith(f"{number} "):
            say(console, f"{number} is {name}")
