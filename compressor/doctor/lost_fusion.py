"""Activations, sums and norms that were part of a convolution in the original's runtime graph, and stand alone now.

Experiment: a census of the runtime's own nodes, of both files.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from compressor.core.findings import Finding
from compressor.core.node_times import NodeProfile, NodeTime
from compressor.doctor._case import CannotLook, Case, percent, place

_KINDS = {
    "activation": re.compile(
        r"^(Quick)?(Relu|Relu6|LeakyRelu|Clip|HardSwish|HardSigmoid|Sigmoid|Tanh|Gelu|Silu|Elu|Swish|PRelu|Eltwise|"
        r"aten::(relu|gelu|silu|hardswish|hardtanh|sigmoid|tanh|elu|leaky_relu|hardsigmoid)_?)$",
        re.IGNORECASE,
    ),
    "sum": re.compile(r"^(Add|Sum|BiasAdd|Eltwise_Add|aten::add_?)$", re.IGNORECASE),
    "norm": re.compile(r"^(BatchNormalization|aten::batch_norm|BatchNorm\w*)$", re.IGNORECASE),
    "elementwise operator": re.compile(r"^(Subgraph|Mul|aten::mul_?)$", re.IGNORECASE),
}

_SMALLEST_SHARE = 0.01  # of the time; below it nobody would notice


@dataclass(frozen=True)
class LostFusion:
    """What used to be fused."""

    summary: ClassVar[str] = "activations, sums or norms that the runtime fused before the cut and no longer does"

    def examine(self, case: Case) -> list[Finding]:
        """Counts stand-alone nodes of a kind before and after."""
        if case.before is None:
            raise CannotLook("There is no file from before to compare the runtime's nodes with.")
        before, after = _census(case.before), _census(case.profile)
        found = []
        for kind, alone in after.items():
            n_before, n_after = len(before[kind]), len(alone)
            if n_after <= n_before:
                continue
            places = Counter(place(node) for node in alone)
            places.subtract(place(node) for node in before[kind])
            new = [name for name, n in places.items() if n > 0]
            share = case.share([node for node in alone if place(node) in new])
            if share < _SMALLEST_SHARE:
                continue
            found.append(
                Finding(
                    cause="lost_fusion",
                    layer=new[0] if len(new) == 1 else "",
                    evidence=f"{n_before} {kind}{'' if n_before == 1 else 's'} stood alone before, {n_after} do now "
                    f"({', '.join(new[:3])}); they take {percent(share)} of the time.",
                    advice="Keep channel counts that the runtime fuses at, multiples of 8: --round-to 8.",
                    share=share,
                )
            )
        return found


def _census(profile: NodeProfile) -> dict[str, list[NodeTime]]:
    return {kind: [node for node in profile.nodes if pattern.match(node.operator)] for kind, pattern in _KINDS.items()}


PLUGIN = LostFusion
