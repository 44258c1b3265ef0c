"""Numbers so small that the processor handles them in a slow way of its own, in weights or in activations.

Experiment: the same file with such numbers taken as zero, in turns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compressor.core.findings import Finding
from compressor.doctor._case import COSTLY, Case, milliseconds, place, seconds_of
from compressor.profiling.lab import Arm

_INFERENCES = 8
_NAMED = 3  # layers


@dataclass(frozen=True)
class Denormals:
    """Whether flushing denormal numbers to zero makes the file faster, and which layers."""

    summary: ClassVar[str] = "denormal weights or activations: faster when they are taken as zero"

    def examine(self, case: Case) -> list[Finding]:
        """Races the file against itself with flush-to-zero."""
        case.require("flush_denormals", "take denormal numbers as zero")
        flushed = Arm(case.file, case.threads, {"flush_denormals": True})
        ratio = case.lab.race(case.arm, flushed, line=COSTLY)
        if ratio.low <= COSTLY:
            return []
        before, after = (case.lab.nodes(arm, _INFERENCES).nodes for arm in (case.arm, flushed))
        gains: dict[str, float] = {}
        for one, other in zip(before, after, strict=False):
            gains[place(one)] = gains.get(place(one), 0.0) + seconds_of(one) - seconds_of(other)
        named = [name for name in sorted(gains, key=lambda name: -gains[name])[:_NAMED] if gains[name] > 0]
        worst = f" Most of it in {', '.join(named)}." if named else ""
        return [
            Finding(
                cause="denormals",
                layer=named[0] if named else "",
                evidence=f"One inference takes {milliseconds(ratio.first_s)}, and {milliseconds(ratio.second_s)} with "
                f"denormal numbers taken as zero.{worst}",
                advice="Flush denormals to zero in deployment (ONNX Runtime: session.set_denormal_as_zero, OpenVINO: "
                "CPU_DENORMALS_OPTIMIZATION, PyTorch: torch.set_flush_denormal), or set weights below 1e-30 to zero.",
                ratio=ratio.value,
                interval=ratio.interval,
                share=max(0.0, 1 - 1 / ratio.value),
            )
        ]


PLUGIN = Denormals
