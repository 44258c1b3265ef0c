"""Layers that wait for memory: fewer multiplications make them faster only as far as fewer bytes come with them.

Experiment: the bandwidth of a large copy and the rate of a large convolution, measured in the same runtime.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compressor.core.findings import Finding
from compressor.doctor._case import LARGE_SHARE, Case, percent, place, seconds_of
from compressor.profiling.work import work_of

_CACHE_BYTES = 8 << 20  # what is smaller may come from a cache, whose speed was not measured
_FROM_MEMORY = 0.5  # of the measured bandwidth
_IDLE = 0.5  # of the measured rate of arithmetic
_NAMED = 3


@dataclass(frozen=True)
class MemoryBound:
    """Layers near the measured bandwidth and far from the measured arithmetic."""

    summary: ClassVar[str] = "layers that wait for memory, not for arithmetic"

    def examine(self, case: Case) -> list[Finding]:
        """Sets each node's bytes against the bandwidth and its MACs against the peak."""
        bound = []
        for node in case.costliest():
            work, seconds = work_of(node), max(seconds_of(node), 1e-9)
            moving = work.n_bytes / case.speeds.bytes_per_s / seconds
            computing = work.macs / case.speeds.macs_per_s / seconds
            if work.n_bytes >= _CACHE_BYTES and moving >= _FROM_MEMORY and computing < _IDLE:
                bound.append((node, moving, computing))
        share = case.share([node for node, _, _ in bound])
        if share < LARGE_SHARE:
            return []
        node, moving, computing = bound[0]
        names = list(dict.fromkeys(place(node) for node, _, _ in bound))
        return [
            Finding(
                cause="memory_bound",
                layer=names[0],
                evidence=f"{', '.join(names[:_NAMED])} take {percent(share)} of the time. {names[0]} moves "
                f"{work_of(node).n_bytes / 1e6:.0f} MB at {percent(moving)} of the bandwidth and computes at "
                f"{percent(computing)} of the peak that were measured here.",
                advice="Make what is moved smaller: weights in 8 or 16 bits, or a larger batch, "
                "which reads them once for all its inputs; fewer MACs alone will not do.",
                share=share,
            )
        ]


PLUGIN = MemoryBound
