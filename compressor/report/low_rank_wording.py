"""What was split, and what the comparison at equal latency says, as sentences."""

from __future__ import annotations

import math

from compressor.report.schema import Alternative, Alternatives, LowRank
from compressor.report.units import percent

CONFIDENCE = 1.96  # standard errors


def summary_of(found: LowRank) -> str:
    """How many layers were replaced, and what that alone did to the MACs.

    >>> from compressor.report.schema import Count
    >>> print(summary_of(LowRank("tucker2", {"energy": 0.9}, Count(200, 150), ())))
    0 of 0 layers were replaced by thin ones (energy 0.9), which leaves 75.0 % of the MACs.
    """
    n_kept = sum(row.kept for row in found.rows)
    rule = ", ".join(f"{name} {value:g}" for name, value in found.rule.items())
    left = f"which leaves {percent(found.macs.share)} of the MACs"
    return f"{n_kept} of {len(found.rows)} layers were replaced by thin ones ({rule}), {left}."


def finding_of(found: Alternatives) -> str:
    """Whether another way to the same time is better, worse, or cannot be told from the one that was taken.

    >>> rows = (Alternative("both", top1_percent=80.0, ratio=1.5), Alternative("pruning", top1_percent=90.0, ratio=1.5))
    >>> finding_of(Alternatives("onnxruntime:cpu", rows, 1000, ""))
    'pruning alone is as fast and 10.0 points better than both: leave --decompose out.'
    """
    taken, *others = found.rows
    known = [row for row in others if row.top1_percent is not None]
    if taken.top1_percent is None or not known:
        made = [row.name for row in others if not row.unavailable]
        if not made:
            return "Neither low rank alone nor pruning alone becomes as fast."
        return f"{' and '.join(made)} alone can be as fast; accuracies are unknown, since there are no labelled images."
    best = max(known, key=lambda row: row.top1_percent or 0.0)
    gained = (best.top1_percent or 0.0) - taken.top1_percent
    noise = CONFIDENCE * math.sqrt(_variance(best, found.n_images) + _variance(taken, found.n_images))
    if abs(gained) <= noise:
        return (
            f"{best.name} alone is as fast, and its accuracy cannot be told from that of both ({gained:+.1f} points)."
        )
    if gained > 0:
        step = "leave --decompose out" if best.name == "pruning" else "leave the budget out, and lower the ranks"
        return f"{best.name} alone is as fast and {gained:.1f} points better than both: {step}."
    return f"both together are {-gained:.1f} points better than {best.name} alone, at the same latency."


def _variance(row: Alternative, n_images: int) -> float:
    """Of a share of right answers, in points squared."""
    percent = row.top1_percent or 0.0
    return percent * (100 - percent) / n_images if n_images else 0.0
