"""The machine's speed as one runtime reaches it: arithmetic, memory, and what an operator costs that does nothing."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from statistics import median

from compressor.core.node_times import NodeProfile
from compressor.profiling.lab import Arm, Lab
from compressor.profiling.probes import COPY_SHAPE, PEAKS, STREAM, TINY, write_copy, write_layer
from compressor.profiling.work import work_of

_TINY_TIMES = 64
_FLOAT32_BYTES = 4


@dataclass(frozen=True)
class Speeds:
    """What was measured; the fastest of what was tried."""

    target: str
    threads: int
    macs_per_s: float
    bytes_per_s: float
    operator_s: float  # of an operator that has next to nothing to do, the runtime's own work between two included


def measure_speeds(lab: Lab, threads: int, suffix: str, folder: Path) -> Speeds:
    """Runs small files of the probes; a few seconds.

    Args:
        lab: of the target.
        threads: of the runtime.
        suffix: of files that the target reads.
        folder: for the files.

    Raises:
        CompressionError: the target cannot run them.
    """
    rates = []
    for i, layer in enumerate(PEAKS):
        profile = lab.nodes(Arm(write_layer(layer, folder / f"peak{i}{suffix}"), threads), 12, fixed_batch=1)
        rates.append(max(work_of(node).macs / max(min(node.seconds), 1e-9) for node in profile.nodes))
    copy = lab.nodes(Arm(write_copy(folder / f"copy{suffix}"), threads), 8, fixed_batch=1)
    copied = 2 * _FLOAT32_BYTES * prod(COPY_SHAPE) / max(*(min(node.seconds) for node in copy.nodes), 1e-9)
    stream = lab.nodes(Arm(write_layer(STREAM, folder / f"stream{suffix}"), threads), 12, fixed_batch=1)
    read = max(work_of(node).n_bytes / max(min(node.seconds), 1e-9) for node in stream.nodes)
    tiny = lab.nodes(Arm(write_layer(TINY, folder / f"tiny{suffix}", _TINY_TIMES), threads), 30, fixed_batch=1)
    return Speeds(
        target=lab.target,
        threads=threads,
        macs_per_s=max(rates),
        bytes_per_s=max(copied, read),
        operator_s=_per_operator(tiny),
    )


def _per_operator(profile: NodeProfile) -> float:
    return median(profile.whole_s) / _TINY_TIMES
