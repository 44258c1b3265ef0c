"""What a runtime says about each node of its own, optimised graph, and whole models beside each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class NodeTime:
    """One node that the runtime really executed; what was fused into it is part of it.

    `seconds` has one sample per inference; where the runtime tells means only (OpenVINO), one per block of inferences.
    """

    name: str  # as the runtime calls it
    operator: str  # "Conv", "Convolution", "aten::conv2d"
    seconds: tuple[float, ...]
    inputs: tuple[tuple[int, ...], ...]  # shapes, weights included where the runtime counts them as inputs
    outputs: tuple[tuple[int, ...], ...]
    sources: tuple[str, ...] = ()  # names of the file's nodes that it stands for, where that is known
    kernel: str = ""  # what implements it, where the runtime says so: "brgconv_avx2_f32", "CPUExecutionProvider"
    precision: str = ""  # that it computes in, where the runtime says so: "float", "f32"
    module: str = ""  # dotted path of the user's module whose work it is; empty for the model itself or where unknown


@dataclass(frozen=True)
class NodeProfile:
    """One file on one target, node by node, in the order of execution."""

    target: str  # "onnxruntime:cpu"
    path: Path
    batch_size: int
    threads: int
    whole_s: tuple[float, ...]  # seconds of each inference; profiling costs time, so no latency to be quoted
    nodes: tuple[NodeTime, ...]


@dataclass(frozen=True)
class Turns:
    """Two files without the profiler, in turns: medians in seconds, round by round."""

    file_s: tuple[float, ...]
    against_s: tuple[float, ...]

    @property
    def share(self) -> float:
        """How long the file takes, in units of the other: the machine changes between rounds, less within them."""
        return median(a / b for a, b in zip(self.file_s, self.against_s, strict=True))
