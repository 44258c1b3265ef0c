"""Accuracy against MACs as one SVG file: a panel a model, a line a method with the best repair at each budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from statistics import fmean

from compressor.report.charts import nice_ticks
from method_parts.cells import Dense
from method_parts.rows import Row, title

N_BEST = 5
ALWAYS = ("l1", "random")
RIVAL = "torch-pruning's best"
# Okabe and Ito's colours, which people with any colour vision tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
GREYS = {"l1": ("#666", "6 3"), "random": ("#999", "2 3"), RIVAL: ("#000", "8 3 2 3")}
PANEL, HEIGHT, GAP, LEFT, TOP, BOTTOM = 330, 300, 60, 50, 30, 45
LEGEND_LINE, LEGEND_COLUMN = 18, 240
MARGIN = 0.04  # of the MACs, beside the outermost points


@dataclass(frozen=True)
class Line:
    """One method on one model: (share of MACs, accuracy in percent), by budget."""

    name: str
    points: tuple[tuple[float, float], ...]


def plot(rows: Sequence[Row], dense: Mapping[str, Dense]) -> str:
    """The file's text; a panel for each model of `dense`."""
    lines = {model: lines_of([row for row in rows if row.model == model and row.met]) for model in dense}
    names = drawn(lines)
    width = LEFT + len(dense) * (PANEL + GAP)
    columns = max(1, (width - LEFT) // LEGEND_COLUMN)
    height = TOP + HEIGHT + BOTTOM + -(-len(names) // columns) * LEGEND_LINE + 10
    looks = _looks(names)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="12" fill="#222">',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for number, (model, whole) in enumerate(dense.items()):
        shown = [line for line in lines[model] if line.name in names]
        if shown:
            parts += _panel(LEFT + number * (PANEL + GAP), whole, shown, looks)
    for number, name in enumerate(names):
        x, y = LEFT + number % columns * LEGEND_COLUMN, TOP + HEIGHT + BOTTOM + number // columns * LEGEND_LINE
        parts.append(f'<path d="M{x} {y}h28" {looks[name]}/><text x="{x + 36}" y="{y + 4}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def lines_of(rows: Sequence[Row]) -> list[Line]:
    """The best allocation and repair of each method at each budget; torch-pruning's criteria are one line."""
    best: dict[str, dict[float, Row]] = {}
    for row in rows:
        if row.best() is not None:
            at = best.setdefault(_name(row), {})
            if row.budget not in at or _percent(row) > _percent(at[row.budget]):
                at[row.budget] = row
    return [
        Line(name, tuple((row.macs_share, _percent(row)) for _, row in sorted(at.items()))) for name, at in best.items()
    ]


def drawn(lines: Mapping[str, Sequence[Line]]) -> list[str]:
    """The five best over all models, then those that are always shown."""
    values: dict[str, list[float]] = {}
    for line in (line for of_model in lines.values() for line in of_model):
        values.setdefault(line.name, []).extend(percent for _, percent in line.points)
    ours = {name: found for name, found in values.items() if name != RIVAL}
    n_most = max(map(len, ours.values()), default=0)
    complete = [name for name, found in ours.items() if len(found) == n_most]
    best = sorted(complete, key=lambda name: -fmean(values[name]))[:N_BEST]
    return [*best, *(name for name in (*ALWAYS, RIVAL) if name in values and name not in best)]


def _name(row: Row) -> str:
    if row.is_rival:
        return RIVAL
    return f"{row.method} (labels)" if "labels" in row.needs else row.method


def _percent(row: Row) -> float:
    best = row.best()
    return row.percent(best) if best is not None else 0.0


def _looks(names: Sequence[str]) -> dict[str, str]:
    """The stroke of each line."""
    colours = iter(COLOURS)
    looks = {name: GREYS[name] if name in GREYS else (next(colours), "") for name in names}
    return {
        name: f'fill="none" stroke="{colour}" stroke-width="2"' + (f' stroke-dasharray="{dashes}"' if dashes else "")
        for name, (colour, dashes) in looks.items()
    }


def _panel(left: int, whole: Dense, lines: Sequence[Line], looks: Mapping[str, str]) -> list[str]:
    shares = [share for line in lines for share, _ in line.points]
    low, high = min(shares) - MARGIN, max(shares) + MARGIN

    def across(share: float) -> float:
        return round(left + PANEL * (share - low) / (high - low), 1)

    def down(percent: float) -> float:
        return round(TOP + HEIGHT * (1 - percent / 100), 1)

    bottom, middle = TOP + HEIGHT, left + PANEL / 2
    parts = [f'<text x="{left}" y="{TOP - 12}" font-weight="600">{escape(title(whole.model))}</text>']
    for percent in nice_ticks(100):
        y = down(percent)
        parts.append(f'<path d="M{left} {y}h{PANEL}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{percent:g}</text>')
    for tick in (tick for tick in nice_ticks(1, 10) if low <= tick <= high):
        parts.append(f'<text x="{across(tick)}" y="{bottom + 16}" text-anchor="middle">{tick:.0%}</text>')
    parts.append(
        f'<text x="{middle}" y="{bottom + 32}" text-anchor="middle">MACs left; top-1 accuracy in percent</text>'
    )
    y = down(whole.top1_percent)
    parts.append(f'<path d="M{left} {y}h{PANEL}" stroke="#444" stroke-dasharray="1 3"/>')
    parts.append(f'<text x="{left + 4}" y="{y - 5}" fill="#444">whole {whole.top1_percent:.1f}</text>')
    for line in lines:
        points = [(across(share), down(percent)) for share, percent in line.points]
        track = "L".join(f"{x} {y}" for x, y in points)
        parts.append(f'<path d="M{track}" {looks[line.name]}><title>{escape(line.name)}</title></path>')
        colour = looks[line.name].split('stroke="')[1].split('"')[0]
        parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in points]
    return parts
