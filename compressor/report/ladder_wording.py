"""What the recovery ladder found, as sentences."""

from __future__ import annotations

from compressor.report.schema import Ladder
from compressor.report.units import points

UNITS = {"macs": "of the MACs would have to remain", "params": "of the parameters would have to remain"}


def asked_of(ladder: Ladder) -> str:
    """What may be lost, and on how many images that is measured.

    >>> from types import SimpleNamespace
    >>> asked_of(SimpleNamespace(max_drop_points=1.0, measure="accuracy", n_images=5000))
    'at most 1 point of accuracy lost, measured on 5,000 images (one of them is 0.02 points)'
    """
    allowed = f"at most {ladder.max_drop_points:g} point{'' if ladder.max_drop_points == 1 else 's'}"
    images = f"{ladder.n_images:,} images (one of them is {100 / ladder.n_images:.2g} points)"
    return f"{allowed} of {ladder.measure} lost, measured on {images}"


def outcome_of(ladder: Ladder) -> str:
    """Whether that was kept, and by what."""
    if not ladder.reached:
        return "not kept"
    by = ladder.rungs[-1].name
    return "kept by the cut alone" if len(ladder.rungs) == 1 else f"kept by {by}"


def shortfall_of(ladder: Ladder) -> str:
    """The sentence for a ladder that did not get there, with the estimate of what would have."""
    lost = f"{ladder.drop_points:.2f}"
    if float(lost) <= ladder.max_drop_points:  # rounded, it looks like what was allowed
        lost = f"{ladder.drop_points:.6g}"
    return (
        f"{lost} points of {ladder.measure} were lost, and --max-drop allows {ladder.max_drop_points:g}; "
        f"this is the best result that was found. {estimate_of(ladder)}"
    ).strip()


def estimate_of(ladder: Ladder) -> str:
    """The budget that would probably have kept the drop, as the command line takes it."""
    for unit, share in ladder.largest_budget.items():
        percent = f"{100 * share:.0f}"
        if percent in ("0", "100"):
            return "Estimated from this run, next to nothing could be removed at that drop."
        what = UNITS.get(unit, "of the channels could be removed")
        return f"Estimated from this run, about {percent} % {what} (--{unit} {percent}%)."
    return ""


def change_of(original_percent: float, percent: float | None) -> str:
    """Signed points against the original; empty where nothing was measured."""
    return "" if percent is None else points(percent - original_percent)
