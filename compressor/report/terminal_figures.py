"""What files cost beside their latency, as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from compressor.report import units
from compressor.report.console import heading, say, table, text
from compressor.report.profile_wording import ENERGY_SAID, LOAD_SAID, MEMORY_SAID
from compressor.report.schema import FileFigures, LatencyRow


def print_figures(rows: Sequence[LatencyRow], console: Console) -> None:
    """Throughput, load time, first inference, memory and energy of original and compressed file; nothing if unknown."""
    known = [
        (row.target, name, figures)
        for row in rows
        for name, figures in (("original", row.base_figures), ("compressed", row.compressed_figures))
        if figures is not None
    ]
    if not known:
        return
    with_energy = any(figures.energy_j is not None for _, _, figures in known)
    heading(console, "Throughput, loading and memory")
    energy = ("energy>",) if with_energy else ()
    made = table("target", "file", "inputs/s>", "load>", "first>", "memory>", *energy)
    for target, name, figures in known:
        shown = _shown(figures) + ([_energy(figures)] if with_energy else [])
        made.add_row(text(target, console, 16), name, *(text(figure, console) for figure in shown))
    console.print(made)
    runtimes = {units.middle(target, 16): figures.runtime_bytes for target, _, figures in known}
    told = [f"{target} {units.size(n)}" for target, n in runtimes.items() if n is not None]
    memory = f"{MEMORY_SAID.removesuffix('.')} ({', '.join(told)})." if told else ""
    say(console, f"{LOAD_SAID} {memory}".rstrip())
    if with_energy:
        say(console, ENERGY_SAID)


def _shown(figures: FileFigures) -> list[str]:
    memory = "" if figures.memory_bytes is None else units.size(figures.memory_bytes)
    return [
        units.rate(figures.per_s),
        units.milliseconds(figures.load_ms),
        units.milliseconds(figures.first_ms),
        memory,
    ]


def _energy(figures: FileFigures) -> str:
    return "" if figures.energy_j is None else units.joules(figures.energy_j)
