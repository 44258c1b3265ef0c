"""The runtime's graph with its sizes explained: which node computes on how many channels of which layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compressor.latency.samples import ModelSample, NodeSample
from exporters.elastic.sizes import Explanations, Size

LEAST_SAMPLES = 4  # of one graph, before its sizes can be explained
Pattern = tuple[str, tuple[tuple[int, ...], ...]]  # operator, shapes; variables are -1, -2, ...


@dataclass(frozen=True)
class Line:
    """Nodes of one pattern on the same sizes."""

    pattern: Pattern
    variables: tuple[Size, ...]  # in the order of -1, -2, ...
    count: int  # nodes
    seconds: float  # of all of them in the whole model
    typical_s: float  # of all of them, on average over the samples


def lines_of(
    samples: Sequence[ModelSample], quantities: Sequence[Mapping[str, int]]
) -> tuple[list[Line], list[ModelSample], float]:
    """The graph that most samples have.

    Args:
        samples: of one model.
        quantities: lengths of axes by name, one mapping a sample.

    Returns:
        Its lines; the samples that have it; and the share of their time in nodes whose sizes nothing explains, which
        stand as lines without variables.

    Raises:
        ValueError: too few samples have the same graph.
    """
    common, n = Counter(sample.operators for sample in samples).most_common(1)[0]
    if n < LEAST_SAMPLES:
        raise ValueError(f"only {n} samples have the same nodes")
    chosen = [i for i, sample in enumerate(samples) if sample.operators == common]
    same = [samples[i] for i in chosen]
    names = quantities[chosen[0]]
    explanations = Explanations({name: tuple(quantities[i][name] for i in chosen) for name in names})
    largest = max(range(len(same)), key=lambda i: sum(same[i].n_keep.values()))
    found: dict[tuple[Pattern, tuple[Size, ...]], list[tuple[float, float]]] = {}
    lost = 0.0
    for number in range(len(common)):
        nodes = [sample.nodes[number] for sample in same]
        explained = _explained(nodes, explanations)
        if explained is None:
            lost += nodes[largest].seconds
            explained = (f"unexplained {number}", ()), ()
        typical = sum(node.seconds for node in nodes) / len(nodes)
        found.setdefault(explained, []).append((nodes[largest].seconds, typical))
    total = sum(node.seconds for node in same[largest].nodes)
    lines = [
        Line(pattern, sizes, len(times), sum(whole for whole, _ in times), sum(typical for _, typical in times))
        for (pattern, sizes), times in found.items()
    ]
    return lines, same, lost / total if total else 0.0


def values_in(pattern: Pattern, node: NodeSample) -> tuple[int, ...] | None:
    """The variables' values in a node of this pattern; None if it is of another."""
    operator, shapes = pattern
    seen = (*node.inputs, *node.outputs)
    if operator != node.operator or len(seen) != len(shapes):
        return None
    values: dict[int, int] = {}
    for shape, expected in zip(seen, shapes, strict=True):
        if len(shape) != len(expected):
            return None
        for size, place in zip(shape, expected, strict=True):
            if place >= 0:
                if size != place:
                    return None
            elif values.setdefault(place, size) != size:
                return None
    return tuple(values[place] for place in sorted(values, reverse=True))


def _explained(nodes: Sequence[NodeSample], explanations: Explanations) -> tuple[Pattern, tuple[Size, ...]] | None:
    variables: dict[Size, int] = {}
    shapes: list[tuple[int, ...]] = []
    for same_place in zip(*((*node.inputs, *node.outputs) for node in nodes), strict=True):
        if len({len(shape) for shape in same_place}) > 1:
            return None
        pattern = []
        for sizes in zip(*same_place, strict=True):
            size = explanations.of(tuple(sizes))
            if size is None:
                return None
            pattern.append(size.constant if size.is_constant else variables.setdefault(size, -1 - len(variables)))
        shapes.append(tuple(pattern))
    return (nodes[0].operator, tuple(shapes)), tuple(variables)
