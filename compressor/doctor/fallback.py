"""Nodes that run elsewhere or otherwise than the file is meant to: on another device, in another type, by no kernel.

Experiment: the runtime's own report of what executed each node, in which type, and how long that took.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from compressor.core.findings import Finding
from compressor.core.node_times import NodeTime
from compressor.doctor._case import Case, percent, place

_CONVERSION = re.compile(r"^(Cast|Convert|MemcpyToHost|MemcpyFromHost|aten::to|aten::_to_copy)$")
_WIDE = ("double", "float64", "f64")
_REFERENCE = re.compile(r"^ref(_|$)")
_SMALLEST_SHARE = 0.02
_NAMED = 3


@dataclass(frozen=True)
class Fallback:
    """Conversions of type, double precision, reference kernels and other devices."""

    summary: ClassVar[str] = (
        "nodes on another device, in another data type, or without a kernel made for this processor"
    )

    def examine(self, case: Case) -> list[Finding]:
        """Sorts the nodes by what the runtime says of them."""
        nodes = case.profile.nodes
        groups = [
            (
                [n for n in nodes if _CONVERSION.match(n.operator) and _added(n)],
                "convert types or move between devices; the runtime added them, having no kernel for the file's type",
                "Export in float32 for this target, or use a device that computes in the file's type.",
            ),
            (
                [n for n in nodes if n.precision in _WIDE and not _CONVERSION.match(n.operator)],
                "compute in double precision",
                "Convert the model to float32 before it is exported: model.float().",
            ),
            (
                [n for n in nodes if _REFERENCE.match(n.kernel)],
                "run on reference code, not on a kernel for this processor",
                "Replace the operator by one that the runtime has a kernel for.",
            ),
            (
                [n for n in nodes if _elsewhere(n, case.lab.target)],
                "run on another device than the one that was asked for",
                "Check the runtime's log for the operators that the device does not know, and replace them.",
            ),
        ]
        found = []
        for concerned, words, advice in groups:
            share = case.share(concerned)
            if not concerned or share < _SMALLEST_SHARE:
                continue
            names = list(dict.fromkeys(place(node) for node in concerned))
            found.append(
                Finding(
                    cause="fallback",
                    layer=names[0] if len(names) == 1 else "",
                    evidence=f"{len(concerned)} of {len(nodes)} operators {words}; they take {percent(share)} of the "
                    f"time. The first: {', '.join(names[:_NAMED])}.",
                    advice=advice,
                    share=share,
                )
            )
        return found


def _added(node: NodeTime) -> bool:
    """Whether the runtime put it there: the file has no such node."""
    return not node.sources or node.name.startswith("Inserted")


def _elsewhere(node: NodeTime, target: str) -> bool:
    return target.endswith(":cuda") and node.kernel.startswith(("CPU", "cpu"))


PLUGIN = Fallback
