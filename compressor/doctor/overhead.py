"""Layers that have less to do than it takes to call them: fewer channels make them no faster.

Experiment: a chain of operators with next to nothing to do, in the same runtime, gives the price of a call.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import ClassVar

from compressor.core.findings import Finding
from compressor.doctor._case import Case, percent, place, seconds_of

_NEAR = 3.0  # times an empty operator: a node below that is bound by its call
_LARGE_SHARE = 0.3  # of the time of the whole, in calls


@dataclass(frozen=True)
class Overhead:
    """Whether calls, and not what is called, take the time."""

    summary: ClassVar[str] = "operators too small to matter: the runtime's own work between them takes the time"

    def examine(self, case: Case) -> list[Finding]:
        """Counts nodes that take less than three times an empty operator, and what all calls take together."""
        empty = case.speeds.operator_s
        whole = median(case.profile.whole_s)
        small = [node for node in case.profile.nodes if seconds_of(node) < _NEAR * empty]
        in_calls = min(1.0, len(small) * empty / whole)
        if in_calls < _LARGE_SHARE:
            return []
        names = list(dict.fromkeys(place(node) for node in small))
        return [
            Finding(
                cause="overhead",
                layer="",
                evidence=f"{len(small)} of {len(case.profile.nodes)} operators take under {_NEAR:g} times an empty one "
                f"({1e6 * empty:.2g} us): {percent(in_calls)} of the time goes into calls. The first: "
                f"{', '.join(names[:3])}.",
                advice="Remove whole blocks or layers instead of channels, or put more inputs into a batch.",
                share=in_calls,
            )
        ]


PLUGIN = Overhead
