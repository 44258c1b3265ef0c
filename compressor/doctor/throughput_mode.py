"""A file that asks its runtime for many inferences side by side, where one is waited for.

Experiment: one inference at a time, set up as the file asks and for latency, in turns. ONNX files ask by their metadata
`ort_config` (ONNX Runtime obeys where ORT_LOAD_CONFIG_FROM_MODEL=1), OpenVINO's by `PERFORMANCE_HINT` in their runtime
information.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compressor.core.findings import Finding
from compressor.doctor._case import COSTLY, Case, milliseconds
from compressor.profiling.lab import Arm


@dataclass(frozen=True)
class ThroughputMode:
    """Whether the mode that the file asks for makes one inference slower."""

    summary: ClassVar[str] = "the file asks for throughput: one inference waits longer than it has to"

    def examine(self, case: Case) -> list[Finding]:
        """Races both modes if the file asks for throughput; else there is nothing to find."""
        if not case.asked.get("throughput"):
            return []
        case.require("throughput", "run for throughput")
        ratio = case.lab.race(Arm(case.file, case.threads, {"throughput": True}), case.arm, line=COSTLY, waiting=True)
        if ratio.low <= COSTLY:
            return []
        return [
            Finding(
                cause="throughput_mode",
                layer="",
                evidence=f"One inference takes {milliseconds(ratio.first_s)} in the mode that the file asks for and "
                f"{milliseconds(ratio.second_s)} in the mode for latency, with {case.threads} threads.",
                advice="Where one answer is waited for, ask for latency: sequential execution in ONNX Runtime, "
                "PERFORMANCE_HINT LATENCY in OpenVINO; and take the wish out of the file.",
                ratio=ratio.value,
                interval=ratio.interval,
                share=1 - 1 / ratio.value,
            )
        ]


PLUGIN = ThroughputMode
