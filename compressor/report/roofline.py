"""The roofline: how fast each layer computes, against how much it computes per byte, under what the machine can do.

Both axes are logarithmic. Positions across are percent of the chart's width, positions down are pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from compressor.core.layers import LayerCost, LayerTable

HEIGHT = 260.0
_BOTTOM = HEIGHT - 24
_RADIUS = (2.5, 11.0)  # pixels; the area is the share of the time


@dataclass(frozen=True)
class Dot:
    """One layer of one file."""

    arm: str  # "original", "compressed"
    layer: str
    x: float
    y: float
    radius: float
    macs_per_byte: float
    gmacs_per_s: float
    share: float


@dataclass(frozen=True)
class Mark:
    """A labelled place on an axis."""

    place: float
    label: str


@dataclass(frozen=True)
class Roofline:
    """One target."""

    dots: tuple[Dot, ...]  # large ones first, so that small ones lie on top
    slope: tuple[tuple[float, float], tuple[float, float]]  # the bandwidth's roof: from, to (x, y)
    flat: tuple[tuple[float, float], tuple[float, float]]  # the peak's
    across: tuple[Mark, ...]
    down: tuple[Mark, ...]


def roofline(table: LayerTable) -> Roofline | None:
    """None where no layer has MACs and bytes, or a speed could not be measured."""
    arms = [("original", row.layer, row.before) for row in table.rows]
    arms += [("compressed", row.layer, row.after) for row in table.rows]
    drawn = [(arm, layer, cost) for arm, layer, cost in arms if cost is not None and cost.macs and cost.n_bytes]
    drawn = [one for one in drawn if one[2].seconds > 0]
    if not drawn or table.macs_per_s <= 0 or table.bytes_per_s <= 0:
        return None
    ridge = table.macs_per_s / table.bytes_per_s
    intensities = [cost.macs / cost.n_bytes for _, _, cost in drawn]
    rates = [cost.macs / cost.seconds for _, _, cost in drawn]
    low_x, high_x = _decades((*intensities, ridge))
    low_y, high_y = _decades((*rates, table.macs_per_s))

    def x(value: float) -> float:
        return 100 * (math.log10(value) - low_x) / (high_x - low_x)

    def y(value: float) -> float:
        return _BOTTOM * (1 - (math.log10(value) - low_y) / (high_y - low_y))

    dots = [
        _dot(arm, layer, cost, x(cost.macs / cost.n_bytes), y(cost.macs / cost.seconds)) for arm, layer, cost in drawn
    ]
    foot = max(10.0**low_x, 10.0**low_y / table.bytes_per_s)  # where the slope enters the chart
    top = (x(ridge), y(table.macs_per_s))
    return Roofline(
        dots=tuple(sorted(dots, key=lambda dot: -dot.radius)),
        slope=((x(foot), y(foot * table.bytes_per_s)), top),
        flat=(top, (100.0, top[1])),
        across=tuple(Mark(x(10.0**e), f"{10.0**e:g}") for e in range(math.ceil(low_x), math.floor(high_x) + 1)),
        down=tuple(Mark(y(10.0**e), f"{10.0 ** (e - 9):g}") for e in range(math.ceil(low_y), math.floor(high_y) + 1)),
    )


def _decades(values: Iterable[float]) -> tuple[float, float]:
    logs = [math.log10(value) for value in values]
    low, high = math.floor(min(logs)), math.ceil(max(logs) + 0.05)
    return float(low), float(max(high, low + 1))


def _dot(arm: str, layer: str, cost: LayerCost, x: float, y: float) -> Dot:
    least, most = _RADIUS
    radius = least + (most - least) * math.sqrt(min(1.0, cost.share))
    return Dot(arm, layer, x, y, radius, cost.macs / cost.n_bytes, cost.macs / cost.seconds / 1e9, cost.share)
