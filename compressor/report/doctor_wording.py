"""The doctor's sentences, for the terminal and the page alike."""

from __future__ import annotations

from compressor.core.findings import Diagnosis, Finding

_NAMES = {
    "denormals": "denormal numbers",
    "fallback": "another device or data type",
    "lost_fusion": "lost fusion",
    "memory_bound": "bound by memory",
    "misaligned_widths": "misaligned widths",
    "overhead": "bound by overhead",
    "throughput_mode": "set up for throughput",
    "too_many_threads": "too many threads",
}


def cause_name(cause: str) -> str:
    """As people say it; a cause without a name of its own keeps its file's."""
    return _NAMES.get(cause, cause.replace("_", " "))


def opening_of(diagnosis: Diagnosis) -> str:
    """What was examined, and what was promised."""
    where = f"{diagnosis.file} on {diagnosis.target}"
    if diagnosis.macs_ratio is None or diagnosis.time_ratio is None:
        return f"{where}."
    return (
        f"{where}: {diagnosis.macs_ratio:.2f} times fewer MACs than before, {diagnosis.time_ratio:.2f} times as fast."
    )


def closing_of(diagnosis: Diagnosis) -> str:
    """What was looked for and not found; empty where everything was found."""
    if not diagnosis.healthy:
        return ""
    return f"Looked for and not found: {', '.join(map(cause_name, diagnosis.healthy))}."


def measured(finding: Finding) -> str:
    """The ratio with its interval; empty where nothing was timed in turns."""
    if finding.ratio is None or finding.interval is None:
        return ""
    return f"{finding.ratio:.2f} times as long, 95 % interval {finding.interval[0]:.2f} to {finding.interval[1]:.2f}"
