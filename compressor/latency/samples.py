"""What was measured: one model at one choice of widths, node by node, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from compressor.core.node_times import NodeProfile

# Other programs only ever add time, so of several samples the smaller ones tell; the very smallest may be a slip.
QUANTILE = 0.25
REORDERS = "Reorder"  # ReorderInput, ReorderOutput in ONNX Runtime, Reorder in OpenVINO
SAME_WORK = {"FusedConv": "Conv", "FusedMatMul": "MatMul", "FusedGemm": "Gemm"}  # in another layout, or scaled
Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class NodeSample:
    """A node of the runtime's own graph: what it computes, on which sizes, and how long it takes."""

    operator: str
    inputs: Shapes
    outputs: Shapes
    seconds: float


@dataclass(frozen=True)
class ModelSample:
    """One choice of widths."""

    n_keep: dict[str, int]  # channels of each group
    whole_s: float
    nodes: tuple[NodeSample, ...]  # in the order of execution

    @property
    def operators(self) -> tuple[str, ...]:
        """The sequence by which graphs are told apart: at some widths a runtime fuses other nodes."""
        return tuple(f"{node.operator}{[len(shape) for shape in node.inputs]}" for node in self.nodes)


def sample_of(n_keep: dict[str, int], profile: NodeProfile, whole_s: float) -> ModelSample:
    """The profile's seconds, in short, as parts of what the model takes without the profiler.

    A profiler's own work is a good part of the time of short nodes, and the machine's speed changes from one sample to
    the next. So the profile says how the nodes share the time, and `whole_s` how much there is to share.

    Where a layer's width does not suit the runtime's layout, it puts reorders before and behind. Their time counts as
    the time of the node that they serve, so that graphs are the same at all widths, and such widths are dear.
    """
    nodes: list[NodeSample] = []
    waiting = 0.0
    for node in profile.nodes:
        seconds = _typical(node.seconds)
        if node.operator.startswith(REORDERS):
            waiting += seconds
        else:
            operator = SAME_WORK.get(node.operator, node.operator)
            nodes.append(NodeSample(operator, node.inputs, node.outputs, seconds + waiting))
            waiting = 0.0
    if waiting and nodes:
        nodes[-1] = replace(nodes[-1], seconds=nodes[-1].seconds + waiting)
    part = whole_s / (sum(node.seconds for node in nodes) or 1.0)
    return ModelSample(n_keep, whole_s, tuple(replace(node, seconds=part * node.seconds) for node in nodes))


def _typical(seconds: tuple[float, ...]) -> float:
    return float(np.quantile(seconds, QUANTILE))
